"""Uploads to the local server of Cloud Storage: in one request, with metadata beside, and resumable.

https://docs.cloud.google.com/storage/docs/uploads-downloads
"""

import email
import email.policy
import json
import re
import uuid
from typing import Any


class Refusal(Exception):
    """Answered with a status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Uploads:
    """A part of the server's handler."""

    storage: Any
    command: str
    headers: Any
    query: dict[str, str]
    body: bytes

    def upload(self, bucket: str) -> None:
        kind = self.query.get("uploadType")
        if kind == "multipart":
            head = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n"
            meta, media = email.message_from_bytes(head + self.body, policy=email.policy.HTTP).iter_parts()
            # Not through the parser, which would alter line ends of the media.
            mark = self.body.index(b"\r\n\r\n", self.body.index(media["Content-Type"].encode())) + 4
            end = self.body.rindex(b"\r\n--")
            about = {"contentType": media["Content-Type"], **json.loads(meta.get_content())}
            return self.store(bucket, about, self.body[mark:end])
        if kind == "resumable" and self.command == "POST":
            key = uuid.uuid4().hex
            self.storage.uploads[key] = (bucket, self.body.decode() or "{}", self.query, bytearray())
            where = f"{self.storage.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
            return self.send(b"{}", 200, {"Location": where})
        if kind == "resumable":
            return self.resume(bucket)
        name = self.query["name"]
        return self.store(bucket, {"name": name}, self.body)

    def resume(self, bucket: str) -> None:
        if known := self.storage.finished.get(key := self.query["upload_id"]):
            return self.answer(known)
        _, meta, begun, so_far = self.storage.uploads[self.query["upload_id"]]
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", self.headers.get("Content-Range", "bytes */0"))
        if not span or (span[1] and int(span[1]) > len(so_far)):
            raise Refusal(400, "Invalid request. There is a gap, or no readable Content-Range.")
        if span[1]:  # else the client asks how much has arrived; what it sends twice counts once
            so_far[int(span[1]) :] = self.body
        if span[2] == "*" or len(so_far) < int(span[2]):
            return self.send(b"", 308, {"Range": f"bytes=0-{len(so_far) - 1}"} if so_far else {})
        self.query = begun
        about = {"name": begun.get("name"), **json.loads(meta)}
        self.storage.finished[key] = self.stored(bucket, about, bytes(so_far))
        return self.answer(self.storage.finished[key])
