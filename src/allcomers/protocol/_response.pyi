from allcomers.protocol.compiled import Answer

def plan(
    request_line: tuple[str, str, str],
    response: Answer,
    size: int,
    persists: bool,
    date: bytes,
    server: bytes,
    blocks: dict[tuple[tuple[str, str], ...], bytes],
    status_lines: dict[int, bytes],
) -> tuple[bytes, int, bool, bool] | None: ...
