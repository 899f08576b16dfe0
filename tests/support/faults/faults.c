/* System calls fail when a test says so (sitecustomize.py has the words): preloaded (ld.so(8)), so that compiled code,
   Python and the C libraries meet it alike. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KIND, LEFT, NUMBER, FIRED, PID, SIZE }; /* as sitecustomize.LAYOUT has them */

/* As sitecustomize.KINDS has them; what is missing here is Python's part. */
enum { RECV = 1, SEND, CLOSE = 8, WRITE, EPOLL_CTL, GETSOCKOPT, SETSOCKOPT, FSTAT, MMAP, EVENTFD, PIPE };

static volatile int *control;

/* Return the function of this name that this file stands before. */
#define NEXT(call, name)                                                                                               \
    static __typeof__(&name) call;                                                                                     \
    if (call == NULL)                                                                                                  \
        call = (__typeof__(&name))dlsym(RTLD_NEXT, #name);

__attribute__((constructor)) static void begin(void)
{
    NEXT(map, mmap)
    NEXT(end, close)
    const char *path = getenv("FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *found = fd < 0 ? MAP_FAILED : map(NULL, SIZE * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        end(fd);
    control = found == MAP_FAILED ? NULL : found;
}

/* Return whether this call is the one: of this kind, in the worker or in a child of it. */
static int fails(int kind)
{
    if (control == NULL || control[KIND] != kind)
        return 0;
    if (control[PID] != 0 && getpid() != control[PID] && getppid() != control[PID])
        return 0;
    if (__sync_sub_and_fetch(&control[LEFT], 1) != 0)
        return 0;
    control[KIND] = 0;
    control[FIRED]++;
    errno = control[NUMBER];
    return 1;
}

/* Return whether this is the socket of a peer, not one that a process has to itself. */
static int is_peers(int fd)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    int before = errno, is = getsockname(fd, (struct sockaddr *)&name, &size) == 0 && name.ss_family == AF_INET;
    errno = before;
    return is;
}

ssize_t recv(int fd, void *to, size_t size, int flags)
{
    NEXT(call, recv)
    return control != NULL && control[KIND] == RECV && is_peers(fd) && fails(RECV) ? -1 : call(fd, to, size, flags);
}

ssize_t read(int fd, void *to, size_t size)
{
    NEXT(call, read)
    return control != NULL && control[KIND] == RECV && is_peers(fd) && fails(RECV) ? -1 : call(fd, to, size);
}

ssize_t send(int fd, const void *from, size_t size, int flags)
{
    NEXT(call, send)
    return control != NULL && control[KIND] == SEND && is_peers(fd) && fails(SEND) ? -1 : call(fd, from, size, flags);
}

ssize_t write(int fd, const void *from, size_t size)
{
    NEXT(call, write)
    if (control != NULL && control[KIND] == SEND && is_peers(fd) && fails(SEND))
        return -1;
    /* Not what a handler of signals writes, a signal's number: that is no step of a peer. */
    int is_signal = size == 1 && *(const char *)from < ' ';
    if (control != NULL && control[KIND] == WRITE && !is_signal && !is_peers(fd) && fails(WRITE))
        return -1;
    return call(fd, from, size);
}

int close(int fd)
{
    NEXT(call, close)
    int failed = fails(CLOSE), result = call(fd); /* the descriptor is free all the same (close(2)) */
    if (failed)
        errno = control[NUMBER];
    return failed ? -1 : result;
}

int epoll_ctl(int epoll, int action, int fd, struct epoll_event *event)
{
    NEXT(call, epoll_ctl)
    return fails(EPOLL_CTL) ? -1 : call(epoll, action, fd, event);
}

int getsockopt(int fd, int level, int name, void *to, socklen_t *size)
{
    NEXT(call, getsockopt)
    return fails(GETSOCKOPT) ? -1 : call(fd, level, name, to, size);
}

int setsockopt(int fd, int level, int name, const void *from, socklen_t size)
{
    NEXT(call, setsockopt)
    return fails(SETSOCKOPT) ? -1 : call(fd, level, name, from, size);
}

int fstat(int fd, struct stat *to)
{
    NEXT(call, fstat)
    return fails(FSTAT) ? -1 : call(fd, to);
}

int fstat64(int fd, struct stat64 *to)
{
    NEXT(call, fstat64)
    return fails(FSTAT) ? -1 : call(fd, to);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    NEXT(call, mmap)
    return fails(MMAP) ? MAP_FAILED : call(at, size, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
    NEXT(call, mmap64)
    return fails(MMAP) ? MAP_FAILED : call(at, size, protection, flags, fd, offset);
}

int eventfd(unsigned count, int flags)
{
    NEXT(call, eventfd)
    return fails(EVENTFD) ? -1 : call(count, flags);
}

int pipe(int ends[2])
{
    NEXT(call, pipe)
    return fails(PIPE) ? -1 : call(ends);
}

int pipe2(int ends[2], int flags)
{
    NEXT(call, pipe2)
    return fails(PIPE) ? -1 : call(ends, flags);
}
