/*
 * The limit of the wire: what a client of the page route costs when nothing but system calls is left of it.
 *
 * Blocking sockets, requests of one read sent ahead on several kept connections, bodies received in order by
 * recv(MSG_WAITALL) straight into the caller's memory. No retries, no failover, no ring, no timeouts: not a product.
 * Called through ctypes, which releases the interpreter's lock for the length of a call.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 64, SCRATCH_BYTES = 2048 };

struct client {
    int sockets[MAX_CONNECTIONS];
    int count;
    char host[64];
};

void page_client_close(struct client *client)
{
    for (int i = 0; i < client->count; i++)
        close(client->sockets[i]);
    free(client);
}

struct client *page_client_open(const char *host, int port, int connections)
{
    if (connections < 1 || connections > MAX_CONNECTIONS)
        return NULL;
    struct client *client = calloc(1, sizeof *client);
    snprintf(client->host, sizeof client->host, "%s:%d", host, port);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    for (int i = 0, on = 1; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        client->sockets[client->count++] = fd;
        if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
            page_client_close(client);
            return NULL;
        }
    }
    return client;
}

static int send_request(struct client *client, int fd, const char *id, int64_t page, int64_t from, int64_t length)
{
    char text[512];
    int size = snprintf(text, sizeof text, "GET /v1/file/%s/page/%lld?offset=%lld&length=%lld HTTP/1.1\r\nHost: %s\r\n\r\n", id,
                        (long long)page, (long long)from, (long long)length, client->host);
    return send(fd, text, size, MSG_NOSIGNAL) == size ? 0 : -1;
}

static int receive_body(int fd, char *target, int64_t length)
{
    char scratch[SCRATCH_BYTES + 1];
    int64_t filled = 0, got = 0;
    char *end = NULL;
    while (!end) {
        ssize_t n = recv(fd, scratch + filled, SCRATCH_BYTES - filled, 0);
        if (n <= 0)
            return -1;
        filled += n;
        scratch[filled] = 0;
        end = strstr(scratch, "\r\n\r\n");
    }
    char *field = strcasestr(scratch, "content-length:");
    if (strncmp(scratch, "HTTP/1.1 200", 12) || !field || strtoll(field + 15, NULL, 10) != length)
        return -1;
    got = scratch + filled - (end + 4);
    if (got > length)
        return -1;
    memcpy(target, end + 4, got);
    while (got < length) {
        ssize_t n = recv(fd, target + got, length - got, MSG_WAITALL);
        if (n <= 0)
            return -1;
        got += n;
    }
    return 0;
}

/* Reads file bytes [offset, offset + length) into target. Returns length, or -1 (the client is then unusable). */
int64_t page_client_read(struct client *client, const char *id, int64_t page_size, int64_t offset, int64_t length, char *target)
{
    int64_t first = offset / page_size, last = (offset + length - 1) / page_size, asked = first;
    if (length <= 0)
        return 0;
    for (int64_t page = first; page <= last; page++) {
        for (; asked <= last && asked < page + client->count; asked++) {
            int64_t from = asked == first ? offset % page_size : 0;
            int64_t to = asked == last ? offset + length - last * page_size : page_size;
            if (send_request(client, client->sockets[(asked - first) % client->count], id, asked, from, to - from))
                return -1;
        }
        int64_t from = page == first ? offset % page_size : 0;
        int64_t to = page == last ? offset + length - last * page_size : page_size;
        if (receive_body(client->sockets[(page - first) % client->count], target + page * page_size + from - offset, to - from))
            return -1;
    }
    return length;
}
