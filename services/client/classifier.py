"""The library: ``Classifier`` for programs that wait for an answer, ``AsyncClassifier`` for an event loop."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Literal, Self

from services.client.address import GRPC, HTTP, Address
from services.client.asking import Asking
from services.client.pictures import Content, Named, Pictures, named
from services.client.report import Result
from services.core.errors import ImageError
from services.core.settings import ClientSettings, Protocol
from services.images.decode import MAX_PIXELS


class _Classifier:
    """What both have in common: how they are made, and how they connect."""

    def __init__(
        self,
        url: str = "127.0.0.1:8000",
        model: str | None = None,
        *,
        protocol: Protocol | None = None,
        timeout: float = 60,
        in_flight: int = 4,
        batch: int = 8,
        send: Literal["auto", "file", "pixels"] = "auto",
        max_pixels: int = MAX_PIXELS,
        wait: float = 5,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: ``host:port``, or with a scheme: ``http://``, ``https://``, ``grpc://``, ``grpcs://``.
            model: the model's name; the one that is served where None.
            protocol: ``http`` or ``grpc``; where None what the scheme says, else HTTP.
            timeout: seconds that one request may take, and for which an overloaded or lost server is asked again.
            in_flight: how many requests are under way at a time, each in a thread of its own with a connection of its own.
            batch: pictures per request; the server's own limit lowers it.
            send: ``file`` has the server decode, ``pixels`` does it here; ``auto`` sends files where the server takes them.
            max_pixels: larger pictures are not decoded here; the server has a limit of its own.
            wait: seconds to wait for the model to get ready.

        Raises:
            SettingsError: an argument is out of its range, or the address cannot be used.
        """
        by_grpc = protocol == "grpc" or (protocol is None and url.startswith((f"{GRPC.plain}://", f"{GRPC.secure}://")))
        self._settings = ClientSettings.from_env(
            {},
            model_name=model,
            protocol=protocol or ("grpc" if by_grpc else "http"),
            request_timeout_seconds=timeout,
            client_in_flight=in_flight,
            client_batch=batch,
            send=send,
            max_pixels=max_pixels,
            wait_seconds=wait,
            **{"triton_grpc_url" if by_grpc else "triton_url": url},
        )
        self.address = str(Address.parse(url, GRPC if by_grpc else HTTP))
        """Where the server is, with its scheme."""
        self._asking: Asking | None = None
        self._lock = threading.Lock()

    def _open(self) -> Asking:
        with self._lock:
            self._asking = self._asking or Asking.of(self._settings)
            return self._asking

    def _close(self, *, after_error: bool = False) -> None:
        if self._asking:
            self._asking.close(after_error=after_error)


class Classifier(_Classifier):
    """Asks a served model what is in pictures.

    Files go to the server as they are where it serves ``<model>_image`` beside the model; else, and for images and
    arrays, the pixels are prepared here. It connects when it is first used, or by ``with``. Threads may share one.

    Triton's shared memory is not used: in this stack it is closed to all who have no key of the administrative APIs.

        with Classifier("127.0.0.1:8000") as classifier:
            print(classifier.classify_one("coffee.jpg").top[0].label)  # espresso
            for result in classifier.classify("photos/", top=1):
                print(result.file, result.error or result.top[0].label)
    """

    def classify(self, pictures: Pictures, top: int = 5) -> Iterator[Result]:
        """The best classes of each picture, in the order given, as the answers come.

        Args:
            pictures: any number of them, also without end: a few groups are taken ahead, and answers come while the next ones
                are taken. For a source that takes its time, such as a camera, there is ``classify_one``. Each is a path (that of a
                folder stands for the pictures in it), an http(s) address, ``bytes`` of a file, an image of Pillow, an
                array UINT8 ``[height, width, 3]`` in RGB, or ``Named(name, any of these)``. One alone is taken, too.
            top: how many classes, best first.

        Returns:
            One result per picture; a bad picture has ``error`` set, and does not end the others.

        Raises:
            ServerError: the server refuses, or went away for longer than ``timeout``.
            TypeError: something is no picture at all.
        """
        with contextlib.closing(self._open().groups(named(pictures), top)) as groups:
            for group in groups:
                yield from group

    def classify_one(self, picture: Content | Named, top: int = 5) -> Result:
        """The best classes of one picture.

        Raises:
            ImageError: it cannot be read.
            ServerError: the server refuses, or went away for longer than ``timeout``.
            TypeError: it is no picture at all.
        """
        one = _one(picture)
        return _only(self._open().one(one, top).result())

    def close(self) -> None:
        """Close the connections; an idle one would delay the server's own end."""
        self._close()

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close(after_error=kind is not None)


class AsyncClassifier(_Classifier):
    """``Classifier`` for programs with an event loop, which it does not block.

    async with AsyncClassifier("127.0.0.1:8000") as classifier:
        print((await classifier.classify_one("coffee.jpg")).top[0].label)  # espresso
        async for result in classifier.classify("photos/", top=1):
            print(result.file, result.error or result.top[0].label)
    """

    async def classify(self, pictures: Pictures, top: int = 5) -> AsyncGenerator[Result, None]:
        """See ``Classifier.classify``; ``pictures`` is gone through in other threads, one at a time."""
        asking = await asyncio.to_thread(self._open)
        async with contextlib.aclosing(asking.groups_async(named(pictures), top)) as groups:
            async for group in groups:
                for result in group:
                    yield result

    async def classify_one(self, picture: Content | Named, top: int = 5) -> Result:
        """See ``Classifier.classify_one``."""
        one = _one(picture)
        asking = await asyncio.to_thread(self._open)
        return _only(await asyncio.wrap_future(asking.one(one, top)))

    async def close(self) -> None:
        """Close the connections; an idle one would delay the server's own end."""
        await asyncio.to_thread(self._close)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await asyncio.to_thread(self._close, after_error=kind is not None)


def _one(picture: Content | Named) -> Named:
    found, *more = named([picture])
    if more:
        raise ImageError(f"{picture}: found a folder of {1 + len(more)} pictures, expected one picture (classify takes a folder)")
    return found


def _only(results: list[Result]) -> Result:
    (result,) = results
    if result.error:
        raise ImageError(f"{result.file}: {result.error}")
    return result
