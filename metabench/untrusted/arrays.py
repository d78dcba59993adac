"""numpy archives and images of strangers: sizes are checked before anything is allocated for them."""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

from metabench.errors import MetabenchError
from metabench.untrusted.files import MEMBERS, Error, open_regular, size, unzipped
from metabench.untrusted.text import one_line, printable

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

#: bytes of all arrays of an archive together
ARRAYS = 4 << 30
#: pixels of an image, and the formats that are decoded; PostScript and everything else is never opened
PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
#: bytes of an image file
IMAGE_FILE = 512 << 20


def npz(
    source: str | os.PathLike | bytes, where: object = None, *, most: int = ARRAYS, error: Error = MetabenchError
) -> dict[str, np.ndarray]:
    """The arrays of a numpy archive, in native byte order.

    Args:
        source: A path, or the archive's bytes.
        where: What to call it in messages; the path by default.
        most: Bytes of all arrays together, and of the file.
        error: What to raise for an archive that breaks a rule.

    Returns:
        Name → array. No dtype is an object or a structure.

    Raises:
        FileNotFoundError: There is no such file.
        MetabenchError: Of type ``error``: damaged, larger than ``most``, or an array whose header contradicts its size.
    """
    shown = printable(source if where is None else where, 200)
    try:
        with _opened(source, most, error) as file, zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            total = sum(member.file_size for member in members)
            if len(members) > MEMBERS or total > most:
                raise error(f"{shown} holds {len(members):,} arrays of {size(total)}; at most {size(most)} are read")
            out = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in out:
                    raise error(f"{shown} holds the array {printable(name)} twice")
                out[name] = _array(unzipped(archive, member), f"{shown}: array {printable(name)}", error)
            return out
    except FileNotFoundError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as problem:
        raise error(f"{shown} is no readable .npz file: {one_line(problem, 200)}") from None


def npy(source: str | os.PathLike | bytes, where: object = None, *, most: int = ARRAYS, error: Error = MetabenchError):
    """The array of an ``.npy`` file, as :func:`npz` gives those of an archive. Raises the same."""
    with _opened(source, most, error) as file:
        return _array(file.read(most + 1), printable(source if where is None else where, 200), error)


def _opened(source: str | os.PathLike | bytes, most: int, error: Error) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else open_regular(source, most=most, error=error)


def _array(content: bytes, shown: str, error: Error) -> np.ndarray:
    import numpy as np

    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise error(f"{shown} is of version {version[0]}.{version[1]} of the .npy format, which is not read")
        shape, by_column, dtype = read(file, max_header_size=10_000)
    except MetabenchError:
        raise
    except Exception as problem:  # numpy parses the header as Python text, which may fail in any way
        raise error(f"{shown} has a damaged header: {one_line(problem, 200)}") from None
    if dtype.hasobject or dtype.kind not in "biufcSUmM":
        raise error(f"{shown} has elements of type {printable(dtype)}, which are not read")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(content) - file.tell():
        raise error(f"{shown} has a header that contradicts its size")
    values = np.frombuffer(content, dtype, count=count, offset=file.tell()) if count else np.empty(0, dtype)
    values = values.reshape(shape, order="F" if by_column else "C")
    return values.astype(dtype.newbyteorder("="), order="C", copy=True)


def image(
    source: str | os.PathLike | bytes,
    where: object = None,
    *,
    formats: tuple[str, ...] = FORMATS,
    pixels: int = PIXELS,
    error: Error = MetabenchError,
) -> Image:
    """An image, decoded: its first frame where it has several.

    Args:
        source: A path, or the file's bytes.
        where: What to call it in messages; the path by default.
        formats: Formats that may be tried, by Pillow's names; what the file's name ends with does not matter.
        pixels: Largest width × height.
        error: What to raise for an image that breaks a rule.

    Returns:
        A loaded Pillow image, independent of the file.

    Raises:
        FileNotFoundError: There is no such file.
        MetabenchError: Of type ``error``: another format, damaged, or too large.
    """
    import warnings

    from PIL import Image, UnidentifiedImageError

    shown = printable(source if where is None else where, 200)
    with _opened(source, IMAGE_FILE, error) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow about what it reads; the limit below is ours
        try:
            with Image.open(file, formats=formats) as picture:
                wide, high = picture.size
                if wide * high > pixels:
                    raise error(f"{shown} has {wide} × {high} pixels; at most {pixels:,} are read")
                picture.load()
                return picture.copy()
        except MetabenchError:
            raise
        except UnidentifiedImageError:
            raise error(f"{shown} is no image of a format that is read ({', '.join(formats)})") from None
        except Exception as problem:  # a damaged image may raise anything
            raise error(f"{shown} cannot be read as an image: {one_line(problem, 200)}") from None
