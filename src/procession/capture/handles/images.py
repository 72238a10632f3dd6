"""Images that Pillow has opened and not read yet, or whose further frames are still in the file.

Read ones travel by their pixels, which Pillow does by itself.
"""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageFile

from procession.capture.handles.kinds import travels
from procession.capture.travel import private


@travels(ImageFile.ImageFile)
def image_file(image: Any) -> Any:
    """Opened anew, at the same frame."""
    file: Any = image.fp or getattr(image, "_fp", None)
    if not hasattr(type(file), "read") or file.closed:  # what stands for a closed one raises when it is asked
        return NotImplemented
    drafted = image.decoderconfig  # a JPEG that was asked for a smaller size
    if drafted or not (image.tile or getattr(image, "n_frames", 1) > 1):
        return NotImplemented
    private()
    return opened, (file, image.filename, image.format, image._exclusive_fp, image.tell())


def opened(file: Any, name: str, kind: str, exclusive: bool, frame: int) -> Any:
    """An image over `file`, not read yet."""
    image: Any = Image.open(file, formats=[kind])
    image.filename = name
    image._exclusive_fp = exclusive  # whether it closes the file once it is read
    if frame:
        image.seek(frame)
    return image
