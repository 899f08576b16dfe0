/* recv(2) and send(2) fail when sitecustomize.py is told so: preloaded (ld.so(8)), so that compiled code meets it, too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KIND, LEFT, NUMBER, FIRED }; /* as sitecustomize.LAYOUT has them */
enum { RECV = 1, SEND = 2 };        /* as sitecustomize.KINDS */

static volatile int *control;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, 4 * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    control = found == MAP_FAILED ? NULL : found;
}

static int fails(int kind, int fd)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (control == NULL || control[KIND] != kind)
        return 0;
    if (getsockname(fd, (struct sockaddr *)&name, &size) < 0 || name.ss_family != AF_INET)
        return 0; /* one that a process has to itself */
    if (control[LEFT] > 1) {
        control[LEFT]--;
        return 0;
    }
    control[KIND] = 0;
    control[FIRED]++;
    errno = control[NUMBER];
    return 1;
}

ssize_t recv(int fd, void *to, size_t size, int flags)
{
    static ssize_t (*call)(int, void *, size_t, int);
    if (call == NULL)
        call = (ssize_t (*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    return fails(RECV, fd) ? -1 : call(fd, to, size, flags);
}

ssize_t send(int fd, const void *from, size_t size, int flags)
{
    static ssize_t (*call)(int, const void *, size_t, int);
    if (call == NULL)
        call = (ssize_t (*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    return fails(SEND, fd) ? -1 : call(fd, from, size, flags);
}
