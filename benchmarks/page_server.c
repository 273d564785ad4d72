/*
 * A page server that is not the bottleneck of a benchmark.
 *
 * It answers the page route of an Alluxio worker (and info, files, health), and the few S3 calls that readers make, from
 * files that are mapped into memory. Bodies leave by sendmsg() straight from the mapping: on loopback that costs half of
 * what sendfile() from tmpfs does, for both sides.
 *
 *   page_server --manifest FILE --hosts 127.0.0.1,127.0.0.2 [--port N] [--page-size BYTES] [--delay-us N]
 *               [--node] [--object-port N]
 *
 * One thread per host, each with its own epoll loop; every host serves everything. Hosts differ by address and not by
 * port because a worker's identity is made from its host name. When all sockets listen, one line "port N" is printed.
 * A manifest line is: id <TAB> key <TAB> local path <TAB> size <TAB> modification time in ms, where key is
 * "bucket/name" and the under store's path of the file is "s3://bucket/name".
 *
 * The delay is a property of the request, not of the server: a request that came in at t is answered at t + delay,
 * whatever else waits, so requests of different connections are delayed side by side (as they are on a network).
 *
 * --node and --object-port make it answer what clients of other editions ask for besides pages: /v1/node, and ranged GETs of
 * a file's Alluxio path, "/bucket/name", on a port of its own.
 *
 * Control routes, neither delayed nor counted: /bench/stats (JSON), /bench/stats?reset=1, /bench/delay?us=N, /bench/quit.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_HOSTS = 32, MAX_EVENTS = 256, INPUT_BYTES = 16384, HEAD_BYTES = 512, LIST_LIMIT = 1000 };

/* ---- the files ---------------------------------------------------------------------------------------------------- */

struct entry {
    char *id, *key;
    const char *data;
    int64_t size, mtime_ms;
    _Atomic long page_requests;
};

static struct entry *entries; /* ordered by key */
static size_t entry_count, table_size;
static uint32_t *by_id, *by_key; /* open addressing, index + 1 */

static void die(const char *what)
{
    fprintf(stderr, "page_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t hash_text(const char *text, size_t length)
{
    uint64_t hash = 1469598103934665603ull;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211ull;
    return hash ^ (hash >> 29);
}

static struct entry *lookup(const uint32_t *table, bool id, const char *text, size_t length)
{
    for (size_t slot = hash_text(text, length) & (table_size - 1);; slot = (slot + 1) & (table_size - 1)) {
        if (!table[slot])
            return NULL;
        struct entry *entry = &entries[table[slot] - 1];
        const char *name = id ? entry->id : entry->key;
        if (strlen(name) == length && !memcmp(name, text, length))
            return entry;
    }
}

static void insert(uint32_t *table, const char *text, uint32_t index)
{
    size_t slot = hash_text(text, strlen(text)) & (table_size - 1);
    while (table[slot])
        slot = (slot + 1) & (table_size - 1);
    table[slot] = index + 1;
}

static int by_key_order(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static void read_manifest(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    char *line = NULL;
    size_t capacity = 0, room = 0;
    while (getline(&line, &capacity, file) > 0) {
        line[strcspn(line, "\n")] = 0;
        char *rest = line, *id = strsep(&rest, "\t"), *key = strsep(&rest, "\t"), *local = strsep(&rest, "\t");
        char *size = strsep(&rest, "\t"), *mtime = strsep(&rest, "\t");
        if (!mtime) {
            fprintf(stderr, "page_server: manifest line with fewer than five fields\n");
            exit(1);
        }
        if (entry_count == room)
            entries = reallocarray(entries, room = room ? 2 * room : 1024, sizeof *entries);
        struct entry *entry = &entries[entry_count++];
        *entry = (struct entry){.id = strdup(id), .key = strdup(key), .size = atoll(size), .mtime_ms = atoll(mtime)};
        if (entry->size) {
            int fd = open(local, O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                die(local);
            entry->data = mmap(NULL, entry->size, PROT_READ, MAP_SHARED, fd, 0);
            if (entry->data == MAP_FAILED)
                die(local);
            close(fd);
        }
    }
    free(line);
    fclose(file);
    qsort(entries, entry_count, sizeof *entries, by_key_order);
    for (table_size = 1024; table_size < 2 * entry_count; table_size *= 2)
        ;
    by_id = calloc(table_size, sizeof *by_id);
    by_key = calloc(table_size, sizeof *by_key);
    for (size_t i = 0; i < entry_count; i++) {
        insert(by_id, entries[i].id, i);
        insert(by_key, entries[i].key, i);
    }
}

static size_t first_with_prefix(const char *prefix) /* the first entry whose key is not below prefix */
{
    size_t low = 0, high = entry_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(entries[middle].key, prefix) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- counters ----------------------------------------------------------------------------------------------------- */

enum route { PAGE, INFO, FILES, HEALTH, NODE, OBJECT_GET, OBJECT_HEAD, OBJECT_LIST, MISS, ROUTES };
static const char *route_names[ROUTES] = {"page", "info", "files", "health", "node", "object_get", "object_head",
                                          "object_list", "miss"};
static _Atomic long requests[ROUTES], body_bytes[ROUTES], connections;
static _Atomic long delay_ns;
static int64_t page_size = 1 << 20;
static bool node_route;
static int port, object_port;

/* ---- connections -------------------------------------------------------------------------------------------------- */

struct connection {
    int fd;
    const char *host;
    char input[INPUT_BYTES];
    size_t filled;
    bool answering, close_after, waiting_for_output;
    char head[HEAD_BYTES];
    size_t head_length, sent;
    const char *body;
    char *owned; /* a body made for this answer */
    size_t body_length;
    int64_t due_ns;
    struct connection *next; /* in the queue of delayed answers */
    bool queued, dead;
};

struct loop {
    const char *host;
    int epoll, listener, object_listener, timer;
    struct connection *first, *last; /* delayed answers in order of their due time */
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void drop(struct loop *loop, struct connection *c)
{
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    free(c->owned);
    c->owned = NULL;
    if (c->queued)
        c->dead = true; /* the queue still points at it */
    else
        free(c);
}

struct text {
    char *data;
    size_t length, room;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    for (;;) {
        va_list arguments;
        va_start(arguments, format);
        size_t free_room = text->room - text->length;
        int wanted = vsnprintf(text->data ? text->data + text->length : NULL, text->data ? free_room : 0, format, arguments);
        va_end(arguments);
        if (text->data && (size_t)wanted < free_room) {
            text->length += wanted;
            return;
        }
        text->room = 2 * text->room + wanted + 4096;
        text->data = realloc(text->data, text->room);
    }
}

static void answer(struct connection *c, enum route route, int status, const char *fields, const char *body, size_t length)
{
    const char *reason = status == 200 ? "OK" : status == 206 ? "Partial Content" : "Not Found";
    c->head_length = snprintf(c->head, sizeof c->head, "HTTP/1.1 %d %s\r\n%scontent-length: %zu\r\n%s\r\n", status, reason,
                              fields, length, c->close_after ? "connection: close\r\n" : "");
    c->body = body;
    c->body_length = length;
    c->sent = 0;
    if (route < ROUTES) {
        atomic_fetch_add_explicit(&requests[route], 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&body_bytes[route], (long)length, memory_order_relaxed);
    }
}

static void answer_text(struct connection *c, enum route route, const char *type, struct text text)
{
    char fields[64];
    snprintf(fields, sizeof fields, "content-type: %s\r\n", type);
    c->owned = text.data;
    answer(c, route, 200, fields, text.data, text.length);
}

static bool miss(void) /* an Alluxio worker answers a request that it cannot serve by closing the connection */
{
    atomic_fetch_add_explicit(&requests[MISS], 1, memory_order_relaxed);
    return false;
}

/* ---- request targets ---------------------------------------------------------------------------------------------- */

static const char *parameter(const char *query, const char *name, char *value, size_t room, bool decode)
{
    size_t name_length = strlen(name);
    for (const char *at = query; at && *at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL) {
        if (strncmp(at, name, name_length) || at[name_length] != '=')
            continue;
        size_t out = 0;
        for (at += name_length + 1; *at && *at != '&' && out + 1 < room; at++) {
            unsigned code;
            /* A worker understands only these three escapes in a path (and no plus sign). */
            bool known = !strncmp(at, "%2F", 3) || !strncmp(at, "%3A", 3) || !strncmp(at, "%3F", 3);
            if (*at == '%' && (decode || known) && sscanf(at + 1, "%2x", &code) == 1) {
                value[out++] = (char)code;
                at += 2;
            } else {
                value[out++] = decode && *at == '+' ? ' ' : *at;
            }
        }
        value[out] = 0;
        return value;
    }
    return NULL;
}

static void add_status(struct text *out, const char *type, const char *key, int64_t size, int64_t mtime_ms)
{
    const char *name = strrchr(key, '/');
    add(out,
        "{\"mType\":\"%s\",\"mName\":\"%s\",\"mPath\":\"/%s\",\"mUfsPath\":\"s3://%s\",\"mLastModificationTimeMs\":%lld,"
        "\"mLength\":%lld,\"mHumanReadableFileSize\":\"%lldB\"}",
        type, name ? name + 1 : "", key, key, (long long)mtime_ms, (long long)size, (long long)size);
}

static const char *key_of(char *path) /* "s3://bucket/name/" -> "bucket/name" */
{
    if (strncmp(path, "s3://", 5))
        return NULL;
    size_t length = strlen(path);
    while (length > 5 && path[length - 1] == '/')
        path[--length] = 0;
    return path + 5;
}

static bool answer_info(struct connection *c, const char *query)
{
    char path[2048], prefix[2050];
    const char *key;
    if (!query || !parameter(query, "path", path, sizeof path, false) || !(key = key_of(path)))
        return miss();
    struct entry *entry = lookup(by_key, false, key, strlen(key));
    struct text out = {0};
    add(&out, "[");
    if (entry) {
        add_status(&out, "file", key, entry->size, entry->mtime_ms);
    } else {
        snprintf(prefix, sizeof prefix, "%s/", key);
        size_t at = first_with_prefix(prefix);
        if (at == entry_count || strncmp(entries[at].key, prefix, strlen(prefix))) {
            free(out.data);
            return miss();
        }
        add_status(&out, "directory", key, 0, 0);
    }
    add(&out, "]");
    answer_text(c, INFO, "application/json", out);
    return true;
}

static bool answer_files(struct connection *c, const char *query)
{
    char path[2048], prefix[2050], child[2048];
    const char *key;
    if (!query || !parameter(query, "path", path, sizeof path, false) || !(key = key_of(path)))
        return miss();
    struct text out = {0};
    add(&out, "[");
    struct entry *entry = lookup(by_key, false, key, strlen(key));
    if (entry)
        add_status(&out, "file", key, entry->size, entry->mtime_ms);
    snprintf(prefix, sizeof prefix, "%s/", key);
    size_t length = strlen(prefix), at = first_with_prefix(prefix);
    while (at < entry_count && !strncmp(entries[at].key, prefix, length)) {
        if (out.length > 1)
            add(&out, ",");
        const char *slash = strchr(entries[at].key + length, '/');
        if (!slash) {
            add_status(&out, "file", entries[at].key, entries[at].size, entries[at].mtime_ms);
            at++;
            continue;
        }
        snprintf(child, sizeof child, "%.*s", (int)(slash - entries[at].key), entries[at].key);
        add_status(&out, "directory", child, 0, 0);
        size_t child_length = strlen(child);
        while (at < entry_count && !strncmp(entries[at].key, child, child_length) && entries[at].key[child_length] == '/')
            at++;
    }
    add(&out, "]");
    answer_text(c, FILES, "application/json", out);
    return true;
}

static bool answer_page(struct connection *c, const char *path, const char *query)
{
    const char *slash = strchr(path, '/'); /* <id>/page/<n> */
    if (!slash)
        return miss();
    const char *word = strchr(slash + 1, '/');
    struct entry *entry = lookup(by_id, true, path, slash - path);
    if (!word || !entry)
        return miss();
    char *end, value[32];
    int64_t start = strtoll(word + 1, &end, 10) * page_size;
    if (end == word + 1 || start < 0 || start >= entry->size)
        return miss();
    int64_t length = entry->size - start < page_size ? entry->size - start : page_size;
    if (query && parameter(query, "offset", value, sizeof value, false)) { /* a length without an offset is ignored */
        int64_t offset = strtoll(value, NULL, 10);
        if (offset < 0 || offset > length)
            return miss();
        start += offset;
        length -= offset;
        if (parameter(query, "length", value, sizeof value, false)) {
            int64_t wanted = strtoll(value, NULL, 10);
            if (wanted < 0)
                return miss();
            if (wanted < length)
                length = wanted;
        }
    }
    atomic_fetch_add_explicit(&entry->page_requests, 1, memory_order_relaxed);
    answer(c, PAGE, 200, "content-type: text/plain\r\n", entry->data + start, length);
    return true;
}

static const char *http_date(int64_t mtime_ms, const char *format, char *out, size_t room)
{
    time_t seconds = mtime_ms / 1000;
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(out, room, format, &parts);
    return out;
}

static bool answer_object(struct connection *c, const char *method, const char *key, const char *range)
{
    bool head = !strcmp(method, "HEAD");
    struct entry *entry = lookup(by_key, false, key, strlen(key));
    if (!entry) {
        static const char text[] = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>";
        answer(c, head ? OBJECT_HEAD : OBJECT_GET, 404, "content-type: application/xml\r\n", text, head ? 0 : sizeof text - 1);
        return true;
    }
    int64_t start = 0, end = entry->size;
    char fields[HEAD_BYTES - 128], date[64], content_range[96] = "";
    if (range && *range && !head) {
        char *rest;
        if (*range == '-') {
            start = entry->size - strtoll(range + 1, NULL, 10);
            start = start < 0 ? 0 : start;
        } else {
            start = strtoll(range, &rest, 10);
            if (*rest == '-' && rest[1] >= '0' && rest[1] <= '9')
                end = strtoll(rest + 1, NULL, 10) + 1;
        }
        end = end > entry->size ? entry->size : end;
        if (start >= end)
            return miss();
        snprintf(content_range, sizeof content_range, "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)start,
                 (long long)end - 1, (long long)entry->size);
    }
    snprintf(fields, sizeof fields,
             "Content-Type: binary/octet-stream\r\nETag: \"%.32s\"\r\nLast-Modified: %s\r\nAccept-Ranges: bytes\r\n%s", entry->id,
             http_date(entry->mtime_ms, "%a, %d %b %Y %H:%M:%S GMT", date, sizeof date), content_range);
    answer(c, head ? OBJECT_HEAD : OBJECT_GET, *content_range ? 206 : 200, fields, entry->data + start, end - start);
    if (head) {
        c->body_length = 0; /* the length is announced, the body is not sent */
        atomic_fetch_sub_explicit(&body_bytes[OBJECT_HEAD], (long)(end - start), memory_order_relaxed);
    }
    return true;
}

static bool answer_list(struct connection *c, const char *bucket, const char *query)
{
    char wanted[1024] = "", delimiter[8] = "", token[2048] = "", value[16], prefix[2048], group[2048], date[64];
    int limit = LIST_LIMIT, count = 0;
    parameter(query, "prefix", wanted, sizeof wanted, true);
    parameter(query, "delimiter", delimiter, sizeof delimiter, true);
    parameter(query, "continuation-token", token, sizeof token, true);
    if (parameter(query, "max-keys", value, sizeof value, false) && atoi(value) < limit)
        limit = atoi(value);
    int bucket_length = snprintf(prefix, sizeof prefix, "%s/", bucket);
    snprintf(prefix + bucket_length, sizeof prefix - bucket_length, "%s", wanted);
    size_t length = strlen(prefix), at = first_with_prefix(*token ? token : prefix);
    struct text items = {0}, out = {0};
    add(&items, "%s", "");
    while (at < entry_count && !strncmp(entries[at].key, prefix, length) && count < limit) {
        const char *slash = *delimiter ? strchr(entries[at].key + length, '/') : NULL;
        count++;
        if (!slash) {
            add(&items,
                "<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>&quot;%.32s&quot;</ETag><Size>%lld</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>",
                entries[at].key + bucket_length, http_date(entries[at].mtime_ms, "%Y-%m-%dT%H:%M:%S.000Z", date, sizeof date),
                entries[at].id, (long long)entries[at].size);
            at++;
            continue;
        }
        size_t group_length = snprintf(group, sizeof group, "%.*s", (int)(slash + 1 - entries[at].key), entries[at].key);
        add(&items, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", group + bucket_length);
        while (at < entry_count && !strncmp(entries[at].key, group, group_length))
            at++;
    }
    bool more = at < entry_count && !strncmp(entries[at].key, prefix, length);
    add(&out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>%s</Name>"
        "<Prefix>%s</Prefix><KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys><IsTruncated>%s</IsTruncated>",
        bucket, wanted, count, limit, more ? "true" : "false");
    if (more)
        add(&out, "<NextContinuationToken>%s</NextContinuationToken>", entries[at].key);
    add(&out, "%s</ListBucketResult>", items.data);
    free(items.data);
    answer_text(c, OBJECT_LIST, "application/xml", out);
    return true;
}

static bool answer_control(struct connection *c, const char *path, const char *query)
{
    char value[32];
    struct text out = {0};
    if (!strcmp(path, "quit"))
        exit(0);
    if (!strcmp(path, "delay") && query && parameter(query, "us", value, sizeof value, false))
        atomic_store(&delay_ns, atol(value) * 1000);
    long touched = 0, most = 0;
    for (size_t i = 0; i < entry_count; i++) {
        long count = atomic_load(&entries[i].page_requests);
        touched += count > 0;
        most = count > most ? count : most;
    }
    add(&out, "{\"connections\":%ld,\"files_asked\":%ld,\"most_page_requests_of_a_file\":%ld,\"requests\":{",
        atomic_load(&connections), touched, most);
    for (int i = 0; i < ROUTES; i++)
        add(&out, "%s\"%s\":%ld", i ? "," : "", route_names[i], atomic_load(&requests[i]));
    add(&out, "},\"bytes\":{");
    for (int i = 0; i < ROUTES; i++)
        add(&out, "%s\"%s\":%ld", i ? "," : "", route_names[i], atomic_load(&body_bytes[i]));
    add(&out, "}}");
    if (query && parameter(query, "reset", value, sizeof value, false)) {
        atomic_store(&connections, 0);
        for (int i = 0; i < ROUTES; i++) {
            atomic_store(&requests[i], 0);
            atomic_store(&body_bytes[i], 0);
        }
        for (size_t i = 0; i < entry_count; i++)
            atomic_store(&entries[i].page_requests, 0);
    }
    answer_text(c, ROUTES, "application/json", out);
    return true;
}

/* Prepares the answer of one request; false means "close without a word". */
static bool answer_request(struct connection *c, char *method, char *target, const char *range, bool *control)
{
    char *query = strchr(target, '?');
    if (query)
        *query++ = 0;
    *control = false;
    if (!strncmp(target, "/v1/file/", 9))
        return answer_page(c, target + 9, query);
    if (!strcmp(target, "/v1/info"))
        return answer_info(c, query);
    if (!strcmp(target, "/v1/files"))
        return answer_files(c, query);
    if (!strcmp(target, "/v1/health")) {
        answer(c, HEALTH, 200, "content-type: text/plain\r\n", "worker is active", 16);
        return true;
    }
    if (!strcmp(target, "/v1/node") && node_route) {
        struct text out = {0};
        add(&out, "{\"Host\":\"%s\",\"HttpServerPort\":%d}", c->host, port);
        answer_text(c, NODE, "application/json", out);
        return true;
    }
    if (!strncmp(target, "/bench/", 7) && (!strcmp(target + 7, "stats") || !strcmp(target + 7, "delay") || !strcmp(target + 7, "quit"))) {
        *control = true;
        return answer_control(c, target + 7, query);
    }
    if (!strncmp(target, "/v1/", 4) || target[0] != '/')
        return miss();
    char key[2048]; /* an object's name: percent-decoded, as every S3 server does */
    size_t out = 0;
    for (const char *at = target + 1; *at && out + 1 < sizeof key; at++) {
        unsigned code;
        if (*at == '%' && sscanf(at + 1, "%2x", &code) == 1) {
            key[out++] = (char)code;
            at += 2;
        } else {
            key[out++] = *at;
        }
    }
    key[out] = 0;
    if (out && key[out - 1] == '/')
        key[--out] = 0;
    if (query && strstr(query, "list-type=2") && !strchr(key, '/'))
        return answer_list(c, key, query);
    return answer_object(c, method, key, range);
}

/* ---- the event loop ----------------------------------------------------------------------------------------------- */

static void watch_output(struct loop *loop, struct connection *c, bool on)
{
    if (c->waiting_for_output == on)
        return;
    c->waiting_for_output = on;
    struct epoll_event event = {.events = EPOLLIN | (on ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(loop->epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static bool send_answer(struct loop *loop, struct connection *c) /* false: the connection is gone */
{
    size_t total = c->head_length + c->body_length;
    while (c->sent < total) {
        struct iovec parts[2];
        int count = 0;
        if (c->sent < c->head_length)
            parts[count++] = (struct iovec){c->head + c->sent, c->head_length - c->sent};
        size_t done = c->sent > c->head_length ? c->sent - c->head_length : 0;
        if (done < c->body_length)
            parts[count++] = (struct iovec){(void *)(c->body + done), c->body_length - done};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) {
                watch_output(loop, c, true);
                return true;
            }
            if (errno == EINTR)
                continue;
            drop(loop, c);
            return false;
        }
        c->sent += n;
    }
    free(c->owned);
    c->owned = NULL;
    c->answering = false;
    watch_output(loop, c, false);
    if (c->close_after) {
        drop(loop, c);
        return false;
    }
    return true;
}

static void arm(struct loop *loop)
{
    struct itimerspec when = {0};
    if (loop->first) {
        when.it_value.tv_sec = loop->first->due_ns / 1000000000ll;
        when.it_value.tv_nsec = loop->first->due_ns % 1000000000ll;
    }
    timerfd_settime(loop->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void serve(struct loop *loop, struct connection *c) /* answers what lies in the input, as long as it can */
{
    while (!c->answering) {
        char *end = memmem(c->input, c->filled, "\r\n\r\n", 4);
        if (!end) {
            if (c->filled == sizeof c->input)
                drop(loop, c);
            return;
        }
        *end = 0;
        char *save, *line = strtok_r(c->input, "\r\n", &save);
        char *space = line ? strchr(line, ' ') : NULL, *second = space ? strchr(space + 1, ' ') : NULL;
        if (!second) {
            drop(loop, c);
            return;
        }
        *space = *second = 0;
        char *method = c->input, *target = space + 1;
        const char *range = NULL;
        c->close_after = false;
        while ((line = strtok_r(NULL, "\r\n", &save))) {
            if (!strncasecmp(line, "range: bytes=", 13))
                range = line + 13;
            else if (!strncasecmp(line, "connection: close", 17))
                c->close_after = true;
        }
        bool control = false;
        if ((strcmp(method, "GET") && strcmp(method, "HEAD")) || !answer_request(c, method, target, range, &control)) {
            drop(loop, c);
            return;
        }
        size_t used = end + 4 - c->input;
        memmove(c->input, c->input + used, c->filled -= used);
        c->answering = true;
        long delay = atomic_load_explicit(&delay_ns, memory_order_relaxed);
        if (delay && !control) {
            c->due_ns = now_ns() + delay;
            c->next = NULL;
            c->queued = true;
            if (loop->first)
                loop->last->next = c;
            else
                loop->first = c;
            loop->last = c;
            if (loop->first == c)
                arm(loop);
            return;
        }
        if (!send_answer(loop, c))
            return;
    }
}

static void send_due(struct loop *loop)
{
    uint64_t expirations;
    if (read(loop->timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        die("timerfd");
    while (loop->first && loop->first->due_ns <= now_ns()) {
        struct connection *c = loop->first;
        loop->first = c->next;
        c->queued = false;
        if (c->dead)
            free(c);
        else if (send_answer(loop, c))
            serve(loop, c);
    }
    arm(loop);
}

static void accept_all(struct loop *loop, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->host = loop->host;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event);
        atomic_fetch_add_explicit(&connections, 1, memory_order_relaxed);
    }
}

static void read_input(struct loop *loop, struct connection *c)
{
    if (c->filled == sizeof c->input)
        return; /* a client that pipelines more than fits waits for its answers */
    ssize_t n = recv(c->fd, c->input + c->filled, sizeof c->input - c->filled, 0);
    if (n > 0) {
        c->filled += n;
        serve(loop, c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        drop(loop, c);
    }
}

static void *run_loop(void *argument) /* does not end */
{
    struct loop *loop = argument;
    struct epoll_event events[MAX_EVENTS];
    for (;;) {
        int count = epoll_wait(loop->epoll, events, MAX_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            void *who = events[i].data.ptr;
            if (who == &loop->listener)
                accept_all(loop, loop->listener);
            else if (who == &loop->object_listener)
                accept_all(loop, loop->object_listener);
            else if (who != &loop->timer) {
                struct connection *c = who;
                if (events[i].events & EPOLLOUT) {
                    if (!send_answer(loop, c))
                        continue;
                    if (!c->answering)
                        serve(loop, c);
                } else {
                    read_input(loop, c);
                }
            }
        }
        /* After the connections: a delayed answer may end a connection that this round still has an event for. */
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr == &loop->timer)
                send_due(loop);
    }
    return NULL;
}

static int listen_on(const char *host, int *chosen_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*chosen_port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        errno = EINVAL;
        die(host);
    }
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 1024))
        die("cannot listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    *chosen_port = ntohs(address.sin_port);
    return fd;
}

static void watch(struct loop *loop, int fd, void *who)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = who};
    epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv)
{
    static struct loop loops[MAX_HOSTS];
    char *hosts = NULL;
    const char *manifest = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--node")) {
            node_route = true;
            continue;
        }
        if (i + 1 == argc) {
            fprintf(stderr, "page_server: %s needs a value\n", argv[i]);
            return 2;
        }
        const char *name = argv[i++];
        if (!strcmp(name, "--manifest"))
            manifest = argv[i];
        else if (!strcmp(name, "--hosts"))
            hosts = argv[i];
        else if (!strcmp(name, "--port"))
            port = atoi(argv[i]);
        else if (!strcmp(name, "--object-port"))
            object_port = atoi(argv[i]);
        else if (!strcmp(name, "--page-size"))
            page_size = atoll(argv[i]);
        else if (!strcmp(name, "--delay-us"))
            delay_ns = atol(argv[i]) * 1000;
        else {
            fprintf(stderr, "page_server: unknown option %s\n", name);
            return 2;
        }
    }
    if (!manifest || !hosts || page_size <= 0) {
        fprintf(stderr, "usage: page_server --manifest FILE --hosts A,B [--port N] [--page-size BYTES] [--delay-us N]"
                        " [--node] [--object-port N]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    read_manifest(manifest);
    int count = 0;
    for (char *host; (host = strsep(&hosts, ",")) && count < MAX_HOSTS;) {
        struct loop *loop = &loops[count++];
        loop->host = host;
        loop->epoll = epoll_create1(EPOLL_CLOEXEC);
        loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        loop->listener = listen_on(host, &port);
        loop->object_listener = -1;
        watch(loop, loop->listener, &loop->listener);
        watch(loop, loop->timer, &loop->timer);
        if (object_port) {
            loop->object_listener = listen_on(host, &object_port);
            watch(loop, loop->object_listener, &loop->object_listener);
        }
    }
    for (int i = 1; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_loop, &loops[i]))
            die("pthread_create");
    }
    printf("port %d\n", port);
    fflush(stdout);
    run_loop(&loops[0]);
}
