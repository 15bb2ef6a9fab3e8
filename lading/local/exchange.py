"""One request and its answer, passed on both ways at the same time without being held."""

import asyncio
import re
import socket
import struct

from lading.local import wire

_SMALL_BYTES = 65536
_STATUS = re.compile("[2-5][0-9]{2}", re.ASCII)
_RESET = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER: to close is to reset


class Exchange:
    """One request and its answer, between a client and a revision.

    Args:
        head: Of the request.
        reader: The client's connection, after the head.
        writer: The client's connection.
    """

    def __init__(self, head: wire.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.status = 0
        """Of the answer that the client has got a part of, as far as its revision is concerned; 0 before there is one.

        An answer that the revision breaks off, or never begins, is a 502 that the client is not told.
        """
        self.answered = 0.0
        """When the answer began, by the clock of the event loop."""
        self._head, self._reader = head, reader

    async def run(self, up_reader: asyncio.StreamReader, up_writer: asyncio.StreamWriter) -> bool:
        """Pass the request on and the answer back; whether the client's connection may carry another request.

        Raises:
            BadMessage: one of the two breaks off.
            ConnectionError: as above.
        """
        self._up_reader, self._up_writer = up_reader, up_writer
        if not self._head.chunked and not self._head.get("expect") and (self._head.length or 0) <= _SMALL_BYTES:
            return await self._run_small()
        # An answer may come before the request has been read (413), so both ways run at the same time.
        sending, answering = asyncio.ensure_future(self._send()), asyncio.ensure_future(self._answer_start())
        try:
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and self._client_left(sending):
                # The revision waits for a rest that will not come: unless its connection is closed, both wait for ever.
                raise wire.BadMessage("the client broke off its request")
            try:
                answer, body = await answering
            except (wire.BadMessage, ConnectionError) as error:
                return await self._failed(error)
            framed = await self._answer(answer, body)
            return framed and sending.done() and sending.exception() is None and self._keeps_alive()
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _run_small(self) -> bool:
        """As ``run``, one way after the other: most requests are small, and two tasks cost more than they bring."""
        sent = await wire.read_exactly(self._reader, self._head.length or 0)
        try:
            self._up_writer.write(self._request_head() + sent)
            answer, body = await self._answer_start()
        except (wire.BadMessage, ConnectionError) as error:
            return await self._failed(error)
        return await self._answer(answer, body) and self._keeps_alive()

    async def _answer_start(self) -> tuple[wire.Head, bytes]:
        """The head of the revision's answer, interim ones (1xx) left out, and its body if it is known to be small.

        Those go to the client in one piece: every piece is a system call, and these cost the router most of its time.
        """
        answer = await wire.read_head(self._up_reader)
        while answer and answer.start[1].startswith("1"):
            answer = await wire.read_head(self._up_reader)
        if answer is None:
            raise wire.BrokenOff("the revision closed the connection without an answer")
        if not _STATUS.fullmatch(answer.start[1]):
            raise wire.BadMessage(f"expected a status from 200 to 599, received {answer.start[1][:20]!r}")
        small = not self._bodiless(answer) and not answer.chunked and (answer.length or 0) <= _SMALL_BYTES
        return answer, await wire.read_exactly(self._up_reader, answer.length or 0) if small else b""

    def _client_left(self, sending: "asyncio.Future[None]") -> bool:
        """Whether the request could not be passed on because of the client; the revision may refuse the rest of it."""
        return isinstance(sending.exception(), wire.BadMessage) or self._reader.exception() is not None

    def _request_head(self) -> bytes:
        peer = self.writer.get_extra_info("peername") or ("",)
        forwarded = ", ".join(filter(None, [self._head.get("x-forwarded-for"), peer[0]]))
        return self._head.encode(("Connection", "close"), ("X-Forwarded-For", forwarded), ("X-Forwarded-Proto", "http"))

    async def _send(self) -> None:
        self._up_writer.write(self._request_head())
        if self._head.get("expect").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._head.chunked:
            await wire.copy_chunked(self._reader, self._up_writer)
        elif self._head.length:
            await wire.copy_exactly(self._reader, self._up_writer, self._head.length)
        await self._up_writer.drain()

    def _bodiless(self, answer: wire.Head) -> bool:
        return self._head.start[0] == "HEAD" or answer.start[1] in ("204", "304")

    async def _answer(self, answer: wire.Head, body: bytes) -> bool:
        """Pass the answer back, of which ``body`` has come; whether its end can be told from its head."""
        bodiless = self._bodiless(answer)
        framed = bodiless or answer.chunked or answer.length is not None
        keeps = framed and self._keeps_alive()
        self._begin(int(answer.start[1]))
        self.writer.write(answer.encode(("Connection", "keep-alive" if keeps else "close")) + body)
        try:
            if bodiless:
                pass
            elif answer.chunked:
                await wire.copy_chunked(self._up_reader, self.writer)
            elif answer.length is not None:
                await wire.copy_exactly(self._up_reader, self.writer, answer.length - len(body))
            else:
                await wire.copy_to_end(self._up_reader, self.writer)
        except wire.BadMessage:
            self.status = 502
            raise
        except ConnectionError:
            if self._up_reader.exception() is not None:  # else the client went away
                self.status = 502
            raise
        await self.writer.drain()
        return framed

    async def _failed(self, error: Exception) -> bool:
        """Tell the client that the revision gave no answer, or none that can be read.

        A revision that died may have done what it was asked, or not, and only who asks knows whether to ask again: its
        connection is reset, as the revision's was. RFC 9110, 9.2.2 forbids proxies to send such a request again.
        """
        if not isinstance(error, wire.BrokenOff | ConnectionError):
            return await self.fail(502, "Bad Gateway", f"the revision failed: {error}")
        self._begin(502)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()
        return False

    def _begin(self, status: int) -> None:
        self.status, self.answered = status, asyncio.get_running_loop().time()

    async def fail(self, status: int, reason: str, message: str) -> bool:
        """Answer instead of the revision, and say False: as this request is not read, the connection ends."""
        self._begin(status)
        self.writer.write(wire.error_answer(status, reason, message, retry_after=status == 503))
        await self.writer.drain()
        return False

    def _keeps_alive(self) -> bool:
        wish = self._head.get("connection").lower()
        return "close" not in wish and (self._head.start[2] == "HTTP/1.1" or "keep-alive" in wish)
