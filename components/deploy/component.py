"""deploy: InferenceServices are led to the champions."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def deploy(registered: dsl.Input[dsl.Dataset], registry: str, services: list[str], store: str, canary: list[int]):
    """Bring the champions to S3 and lead services to them: some of the traffic first, then all.

    Args:
        registered: What register wrote: there is something to do where it made a champion.
        registry: The registry.
        services: InferenceServices, each NAMESPACE/NAME; where there is none, nothing is done.
        store: `s3://BUCKET/NAME` that the services read sets of models from.
        canary: Percents of the traffic, one after the other, before all of it.
    """
    import json
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.registry.kserve import InferenceService, publish, roll_out
    from icegraph.trial import registry_at

    with told():
        new = [one["name"] for one in json.loads((Path(registered.path) / "registered.json").read_text()) if one["champion"]]
        if services and new:
            with registry_at(registry) as (known, in_use):
                address = publish(known, in_use, store)
            roll_out([InferenceService(service) for service in services], address, [int(share) for share in canary])
            print(f"{', '.join(services)} read {address}")
