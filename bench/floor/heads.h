/* How many requests have arrived, without a look at what they say: each CRLF CRLF earns one answer, and so many bytes
 * after it are its body. Keep-alive and pipelining work; a head that is split just before its last bytes counts too. */
#define TEXT                                                                    \
    "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n" \
    "Content-Type: text/plain; charset=utf-8\r\n"
#define ANSWER TEXT "Content-Length: 13\r\n\r\nHello, World!"
enum { LENGTH = sizeof(ANSWER) - 1, DEPTH = 1024 };

static char input[65536];
static unsigned char matched[FDS]; /* how much of CRLF CRLF each connection has sent last */
static int body, awaited[FDS];     /* bytes after each head, and those that are still to come */

static int scan(int fd, ssize_t count) {
    int found = 0;
    unsigned char m = matched[fd];
    for (ssize_t i = 0; i < count; i++) {
        if (awaited[fd]) {
            ssize_t some = awaited[fd] < count - i ? awaited[fd] : count - i;
            i += some - 1;
            found += !(awaited[fd] -= some);
            continue;
        }
        m = input[i] == "\r\n\r\n"[m] ? m + 1 : input[i] == '\r';
        if (m == 4) m = 0, found += !(awaited[fd] = body);
    }
    matched[fd] = m;
    return found < DEPTH ? found : DEPTH;
}

static inline int heads(int fd, ssize_t count) {
    if (!body && !matched[fd] && count >= 4 && memmem(input, count, "\r\n\r\n", 4) == input + count - 4) return 1;
    return scan(fd, count);
}
