/* The floor under a file: sendfile of one open file behind a fixed head; a small one is sent from memory with its head.
 *
 *     file_floor PORT FILE */
#include "floor.h"
#include "heads.h"
#include <fcntl.h>
#include <sys/sendfile.h>

enum { SMALL = 16384 };
static char head[1024 + SMALL];
static int file, begun; /* bytes of `head` */
static off_t size, left[FDS];

static void fresh(int fd) { matched[fd] = awaited[fd] = left[fd] = 0; }

/* 1: all sent; 0: the peer is gone; -1: when it can be written again */
static int send_on(int fd) {
    while (left[fd]) {
        off_t from = size - left[fd];
        ssize_t sent = sendfile(fd, file, &from, left[fd]);
        if (sent <= 0) return -(sent < 0);
        left[fd] -= sent;
    }
    return 1;
}

static int ready(int fd) {
    int resumed = left[fd] > 0, done = 1;
    if (!resumed) {
        ssize_t got = recv(fd, input, sizeof input, 0);
        if (got <= 0) return 0;
        if (!heads(fd, got)) return 1;
        if (send(fd, head, begun, MSG_NOSIGNAL | (size > SMALL ? MSG_MORE : 0)) != begun) return 0;
        left[fd] = size > SMALL ? size : 0;
    }
    done = send_on(fd);
    if (done != (resumed ? -1 : 1)) watch(fd, EPOLL_CTL_MOD, done < 0 ? EPOLLOUT : EPOLLIN);
    return done;
}

int main(int argc, char **argv) {
    if (argc < 3 || (file = open(argv[2], O_RDONLY)) < 0) return perror("file"), 1;
    size = lseek(file, 0, SEEK_END);
    begun = sprintf(head, TEXT "Content-Length: %ld\r\n\r\n", (long)size);
    if (size <= SMALL) begun += pread(file, head + begun, size, 0);
    return serve(argv[1], "http");
}
