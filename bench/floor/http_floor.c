/* The floor under every HTTP figure: epoll_wait, recv, send of one fixed answer, and nothing else.
 *
 *     http_floor PORT [close | body BYTES | chunks COUNT BYTES | burn MS]
 *
 * close   ends the connection after each answer
 * body    so many bytes follow each head
 * chunks  the answer is streamed: COUNT chunks of BYTES, a send for each
 * burn    each answer takes MS of CPU time */
#include "floor.h"
#include "heads.h"
#include <time.h>

static char *pieces[DEPTH], answers[DEPTH * LENGTH];
static int sizes[DEPTH], count, closes;
static double burn;

static void fresh(int fd) { matched[fd] = awaited[fd] = 0; }

static double cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int stream(int fd) {
    for (int i = 0; i < count; i++)
        if (send(fd, pieces[i], sizes[i], MSG_NOSIGNAL) != sizes[i]) return 0;
    return 1;
}

static int answer(int fd, int due) {
    for (double end = burn ? cpu() + burn * due : 0; burn && cpu() < end;)
        ;
    while (count && due--)
        if (!stream(fd)) return 0;
    return count || send(fd, answers, due * LENGTH, MSG_NOSIGNAL) == due * LENGTH;
}

static int ready(int fd) {
    ssize_t got = recv(fd, input, sizeof input, 0);
    int due = got > 0 ? heads(fd, got) : -1;
    return due == 0 || (due > 0 && answer(fd, due) && !closes);
}

static void piece(const char *before, int size, const char *after) {
    char *bytes = malloc(strlen(before) + size + 64);
    int begun = sprintf(bytes, "%s%x\r\n", before, size);
    memset(bytes + begun, 'x', size);
    sizes[count] = begun + size + sprintf(bytes + begun + size, "\r\n%s", after);
    pieces[count++] = bytes;
}

int main(int argc, char **argv) {
    const char *kind = argc > 2 ? argv[2] : "", *end = "Connection: close\r\nContent-Length: 13\r\n\r\nHello, World!";
    for (int i = 0; i < DEPTH; i++) memcpy(answers + i * LENGTH, ANSWER, LENGTH);
    if (!strcmp(kind, "close")) {
        closes = count = 1;
        sizes[0] = asprintf(pieces, TEXT "%s", end);
    }
    if (!strcmp(kind, "body")) body = atoi(argv[3]);
    if (!strcmp(kind, "burn")) burn = atof(argv[3]) / 1000;
    if (!strcmp(kind, "chunks"))
        for (int n = atoi(argv[3]); count < n;)
            piece(count ? "" : TEXT "Transfer-Encoding: chunked\r\n\r\n", atoi(argv[4]), count < n - 1 ? "" : "0\r\n\r\n");
    return serve(argv[1], "http");
}
