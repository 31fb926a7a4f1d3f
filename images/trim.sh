#!/bin/sh
# Leave out of an environment what nothing in an image asks for: trim.sh SITE_PACKAGES [server]
set -eu
cd "$1"

# Tests, headers and sources of what is compiled, programs of torch's build. skimage finds its parts by its .pyi files.
find . -type d \( -name test -o -name tests -o -name include \) -prune -exec rm -rf {} +
find . -type f \( -name "*.pyi" -o -name "*.pyx" -o -name "*.pxd" -o -name "*.[ach]" -o -name "*.cpp" -o -name "*.cuh" \) -not -path "./skimage/*" -delete
rm -rf torch/bin/protoc* torch/bin/test_* torch/bin/*Test torch/lib/libtorchbind_test.so torch/lib/libjitbackend_test.so torch/lib/libbackend_with_compiler.so
# Of AWS' services and of OpenVINO's devices and formats, those that are used here.
find botocore/data -mindepth 1 -maxdepth 1 -type d -not -name s3 -not -name sts -not -name "sso*" -exec rm -rf {} +
rm -rf openvino/libs/libopenvino_intel_[gn]pu_plugin.so openvino/libs/cache.json openvino/tools
rm -rf openvino/libs/libopenvino_auto_plugin.so openvino/libs/libopenvino_hetero_plugin.so openvino/libs/libopenvino_c.so*
for format in onnx paddle tensorflow tensorflow_lite gguf ir jax; do
  rm -rf "openvino/libs/libopenvino_${format}_frontend.so"* "openvino/frontend/${format}"
done
# Symbols. The libraries that wheels bring beside themselves, and numba's, do not survive it.
find . -name "*.so*" -size +64k -not -path "*.libs/*" -not -path "./numba/*" -exec strip --strip-unneeded {} +

if [ "${2:-}" = server ]; then
  # KServe's package ends with its client of the Kubernetes API, which a server does not ask.
  sed -i "/^from .api.kserve_client/,\$d" kserve/__init__.py
  rm -rf kserve/api kserve/models
  # Of skimage, the watershed and what that imports.
  find skimage -mindepth 1 -maxdepth 1 -type d -not -name "_*" -not -name draw -not -name exposure -not -name filters -not -name measure \
    -not -name morphology -not -name segmentation -not -name util -exec rm -rf {} +
  rm -rf skimage/filters/rank
  # Languages that no traceback is written in.
  find pygments/lexers -name "*.py*" -not -name "__init__*" -not -name "_mapping*" -delete
  # Parts of scipy, and the compiler of PyTorch, of which it asks nothing.
  rm -rf scipy/cluster scipy/integrate scipy/io scipy/odr scipy/signal scipy/stats torch/_inductor
  # What is for other libraries to link with, for tests, for CUDA, for threads of numba's own; lists of files.
  rm -rf scipy/special/cython_special.*.so numpy/_core/_simd.*.so numpy/distutils rasterio/_example.*.so torch/_vendor/quack torchgen/packaged \
    numba/cuda numba/np/ufunc/omppool.*.so numba/np/ufunc/tbbpool.*.so ./*.dist-info/RECORD
fi
