"""The identity policy: the strong view differs from the weak one in flip and shift alone."""

from collections.abc import Callable


def policy() -> Callable:
    """(key, image) -> image."""
    return lambda key, image: image
