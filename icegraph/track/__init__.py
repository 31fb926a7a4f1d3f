"""Which floe is which from pass to pass, how they drift, and where they will be.

`fit.fit_matcher` trains the matcher, `follow.track` uses it. Nothing is imported here: the report needs the forecast, and must not wait for
torch.
"""
