"""``python -m mmbook.recipes``: make what chapters start from, so that no chapter has to wait for it."""

from mmbook.recipes import perceiver, review_features

if __name__ == "__main__":
    print(
        "Preparing the encoders and features that chapters share (minutes the first time, then kept) ...",
        flush=True,
    )
    for modality in ("text", "image", "audio"):
        perceiver(modality)
    review_features()
