"""The media type of a file by the ending of its name.

A table of our own: the one of the standard library reads files of the system at its first use (mimetypes.MimeTypes
calls init()), so its types depend on the machine, and they differ from one Python to the next (3.11 has none for webp
or md).
"""

from __future__ import annotations

_TABLE = """
text/html html htm shtml
text/css css
text/javascript js mjs cjs
text/plain txt text log conf ini toml c h cc cpp hpp cs go java kt py pyi rb rs sh sql swift ts tsx jsx diff patch
text/markdown md markdown
text/csv csv
text/tab-separated-values tsv
text/calendar ics
text/vcard vcf
text/vtt vtt
text/x-component htc
application/json json map
application/geo+json geojson
application/ld+json jsonld
application/feed+json jsonfeed
application/manifest+json webmanifest
application/x-ndjson ndjson jsonl
application/xml xml xsl xsd
application/xhtml+xml xhtml
application/rss+xml rss
application/atom+xml atom
application/yaml yaml yml
application/wasm wasm
application/pdf pdf
application/postscript ps eps ai
application/rtf rtf
application/epub+zip epub
application/msword doc
application/vnd.ms-excel xls
application/vnd.ms-powerpoint ppt
application/vnd.openxmlformats-officedocument.wordprocessingml.document docx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx
application/vnd.openxmlformats-officedocument.presentationml.presentation pptx
application/vnd.oasis.opendocument.text odt
application/vnd.oasis.opendocument.spreadsheet ods
application/vnd.oasis.opendocument.presentation odp
application/vnd.ms-fontobject eot
application/vnd.google-earth.kml+xml kml
application/vnd.google-earth.kmz kmz
application/vnd.android.package-archive apk
application/vnd.apple.mpegurl m3u8
application/dash+xml mpd
application/java-archive jar war
application/gzip gz tgz svgz
application/x-brotli br
application/zstd zst
application/zip zip whl
application/x-tar tar
application/x-bzip2 bz2
application/x-xz xz
application/x-7z-compressed 7z
application/vnd.rar rar
application/x-rpm rpm
application/vnd.debian.binary-package deb
application/x-x509-ca-cert pem crt der
application/vnd.sqlite3 sqlite sqlite3
application/vnd.apache.parquet parquet
font/woff woff
font/woff2 woff2
font/ttf ttf
font/otf otf
font/collection ttc
image/svg+xml svg
image/png png
image/apng apng
image/jpeg jpg jpeg jfif
image/gif gif
image/webp webp
image/avif avif
image/jxl jxl
image/heic heic
image/heif heif
image/bmp bmp
image/tiff tif tiff
image/x-icon ico cur
audio/mpeg mp3
audio/mp4 m4a
audio/aac aac
audio/ogg ogg oga opus
audio/flac flac
audio/wav wav
audio/webm weba
audio/midi mid midi
video/mp4 mp4 m4v
video/webm webm
video/ogg ogv
video/mpeg mpg mpeg
video/quicktime mov
video/x-msvideo avi
video/x-matroska mkv
video/mp2t m2ts
video/3gpp 3gp
model/gltf+json gltf
model/gltf-binary glb
model/stl stl
model/obj obj
"""


def _read(table: str) -> dict[str, str]:
    types = {}
    for line in table.split("\n"):
        media_type, *endings = line.split() or [""]
        if media_type.startswith("text/"):  # JSON and XML have their own (RFC 8259 section 8.1, RFC 7303 section 3)
            media_type += "; charset=utf-8"
        types.update(dict.fromkeys(endings, media_type))
    return types


TYPES: dict[str, str] = _read(_TABLE)
"""Content-Type values by the ending, lower-case and without its dot: "html" → "text/html; charset=utf-8".
A program may add its own before it serves."""

UNKNOWN = "application/octet-stream"
"""The type of a file without a known ending: bytes, which a browser saves and never runs."""


def media_type(name: bytes) -> str:
    """Return the Content-Type value for a file called `name`: b"a.CSS" → "text/css; charset=utf-8"."""
    return TYPES.get(name.rpartition(b".")[2].lower().decode("latin-1"), UNKNOWN)
