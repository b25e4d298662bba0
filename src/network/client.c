/* client.c - a blocking face over a non-blocking socket: what may block waits in poll with the direction that is
 * needed, and a send that the server does not take reads meanwhile, so that both never wait for each other. */
#define _GNU_SOURCE /* memmem */
#include "network/client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "network/scram.h"

#define MAGIC_V1_0 0x34c2bdc3u

enum {
        FRAME_HEADER_BYTES = 12, /* token 8, size 4, little-endian */
        READ_BYTES = 64 * 1024,
        BODY_PADDING = 64, /* readable behind a body, as the JSON parser wants it */
        HANDSHAKE_MAX_BYTES = 16 * 1024,
};
#define INPUT_MAX_BYTES ((size_t)512 << 20)

struct Client {
        Os *os;
        int fd;
        uint64_t last_token;
        Buf input;       /* what was received */
        size_t consumed; /* of it: frames handed out */
        char *peer;      /* "host:port" for messages */
};

/* --- waiting --- */

/* Waits for `events`; ret_events gets those that came. deadline_ns 0: for ever. */
static Status wait_for(Client *client, short events, int64_t deadline_ns, short *ret_events)
{
        for (;;) {
                int timeout_ms = -1;
                if (deadline_ns) {
                        int64_t left_ns = deadline_ns - os_mono_ns(client->os);
                        if (left_ns <= 0)
                                return status_hint(status_new(ERR_IO, "%s does not answer", client->peer),
                                                   "is that the driver port of a PhotonDB server? (28015 by default)");
                        timeout_ms = (int)MIN(left_ns / 1000000 + 1, INT32_MAX);
                }
                struct pollfd waited = {.fd = client->fd, .events = events};
                int n = poll(&waited, 1, timeout_ms);
                if (n > 0) {
                        *ret_events = waited.revents;
                        return ST_OK;
                }
                if (n < 0 && errno != EINTR)
                        return status_errno(errno, "waiting for %s", client->peer);
        }
}

static Status closed(const Client *client)
{
        return status_new(ERR_CLOSED, "%s closed the connection", client->peer);
}

/* Reads what is there, at least one byte unless it would block. */
static Status read_some(Client *client, bool *ret_blocked)
{
        *ret_blocked = false;
        if (client->consumed == client->input.size) {
                client->input.size = client->consumed = 0;
        } else if (client->consumed >= READ_BYTES && client->consumed * 2 >= client->input.size) {
                buf_consume(&client->input, client->consumed); /* moves at most as much as was handed out */
                client->consumed = 0;
        }
        TRY_CTX(buf_reserve(&client->input, READ_BYTES + BODY_PADDING), "receiving from %s", client->peer);
        size_t room = client->input.capacity - client->input.size - BODY_PADDING;
        for (;;) {
                ssize_t n = recv(client->fd, client->input.data + client->input.size, room, 0);
                if (n > 0) {
                        client->input.size += (size_t)n;
                        return ST_OK;
                }
                if (n == 0)
                        return closed(client);
                if (errno == EAGAIN || errno == EWOULDBLOCK) {
                        *ret_blocked = true;
                        return ST_OK;
                }
                if (errno == ECONNRESET)
                        return closed(client);
                if (errno != EINTR)
                        return status_errno(errno, "receiving from %s", client->peer);
        }
}

static Status read_more(Client *client, int64_t deadline_ns)
{
        bool blocked;
        for (;;) {
                short events;
                TRY(read_some(client, &blocked));
                if (!blocked)
                        return ST_OK;
                TRY(wait_for(client, POLLIN, deadline_ns, &events));
        }
}

static Status write_all(Client *client, struct iovec *parts, int part_count, int64_t deadline_ns)
{
        while (part_count > 0) {
                struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)part_count};
                ssize_t n = sendmsg(client->fd, &message, MSG_NOSIGNAL);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        if (errno == EPIPE || errno == ECONNRESET)
                                return closed(client);
                        if (errno != EAGAIN && errno != EWOULDBLOCK)
                                return status_errno(errno, "sending to %s", client->peer);
                        short events;
                        bool blocked;
                        TRY(wait_for(client, POLLIN | POLLOUT, deadline_ns, &events));
                        if (events & POLLIN)
                                TRY(read_some(client, &blocked));
                        continue;
                }
                size_t sent = (size_t)n;
                while (part_count > 0 && sent >= parts->iov_len) {
                        sent -= parts->iov_len;
                        parts++;
                        part_count--;
                }
                if (part_count > 0) {
                        parts->iov_base = (char *)parts->iov_base + sent;
                        parts->iov_len -= sent;
                }
        }
        return ST_OK;
}

/* --- connecting --- */

static Status connect_address(Client *client, const struct addrinfo *address, int64_t deadline_ns)
{
        int one = 1, error = 0;
        short events;
        socklen_t size = sizeof error;
        client->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
        if (client->fd < 0)
                return status_errno(errno, "cannot make a socket");
        setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(client->fd, address->ai_addr, address->ai_addrlen) == 0)
                return ST_OK;
        if (errno == EINPROGRESS) {
                TRY(wait_for(client, POLLOUT, deadline_ns, &events));
                if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
                        error = errno;
        } else {
                error = errno;
        }
        if (error == 0)
                return ST_OK;
        Status st = status_errno(error, "cannot connect to %s", client->peer);
        return status_hint(st, error == ECONNREFUSED ? "no server listens there; start one with: photondb serve"
                                                     : "are host and port right, and does the network lead there?");
}

/* A name may have several addresses: the first that answers is taken, the error is the last one's. */
static Status connect_any(Client *client, const ClientOptions *options, int64_t deadline_ns)
{
        char port[16];
        struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *addresses;
        snprintf(port, sizeof port, "%d", options->port);
        int error = getaddrinfo(options->host, port, &hints, &addresses);
        if (error)
                return status_hint(status_new(ERR_IO, "cannot find the host %s: %s", options->host,
                                              error == EAI_SYSTEM ? "the resolver failed" : gai_strerror(error)),
                                   "is its name right?");
        Status st = ST_OK;
        for (const struct addrinfo *address = addresses; address; address = address->ai_next) {
                status_ignore(st);
                st = connect_address(client, address, deadline_ns);
                if (!st)
                        break;
                if (client->fd >= 0)
                        close(client->fd);
                client->fd = -1;
        }
        freeaddrinfo(addresses);
        return st;
}

/* --- handshake: messages that end in NUL --- */

static Status read_message(Client *client, int64_t deadline_ns, Bytes *ret_message)
{
        for (;;) {
                size_t size = client->input.size - client->consumed;
                const uint8_t *from = size ? client->input.data + client->consumed : NULL;
                const uint8_t *end = size ? memchr(from, 0, size) : NULL;
                if (end) {
                        *ret_message = BYTES(from, end - from);
                        client->consumed += (size_t)(end - from) + 1;
                        return ST_OK;
                }
                if (size > HANDSHAKE_MAX_BYTES)
                        return status_new(ERR_IO, "%s does not speak the protocol", client->peer);
                Status st = read_more(client, deadline_ns);
                if (status_code(st) == ERR_CLOSED && size > 0) { /* a text without NUL: some other server */
                        status_ignore(st);
                        return status_hint(status_new(ERR_IO, "%s does not speak the protocol", client->peer),
                                           "is that the driver port? (28015 by default)");
                }
                TRY(st);
        }
}

/* The string field of a flat JSON object, escapes undone as far as a handshake has them; `out` is cut to its maximum.
 * False if absent. */
static bool find_string(Bytes object, const char *key, Buf *out)
{
        char wanted[64];
        int wanted_size = snprintf(wanted, sizeof wanted, "\"%s\"", key);
        const uint8_t *at = object.size ? memmem(object.data, object.size, wanted, (size_t)wanted_size) : NULL;
        const uint8_t *end = object.data + object.size;
        if (!at)
                return false;
        at += wanted_size;
        while (at < end && (*at == ' ' || *at == '\t' || *at == ':'))
                at++;
        if (at == end || *at++ != '"')
                return false;
        for (; at < end && *at != '"'; at++) {
                uint8_t c = *at;
                if (c == '\\' && ++at < end)
                        c = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at;
                Status st = buf_append_byte(out, c);
                if (st) {
                        status_ignore(st);
                        return false;
                }
        }
        return at < end;
}

static bool is_success(Bytes object)
{
        static const char *const forms[] = {"\"success\":true", "\"success\": true"};
        for (size_t i = 0; i < ELEMENTS(forms); i++) {
                if (object.size && memmem(object.data, object.size, forms[i], strlen(forms[i])))
                        return true;
        }
        return false;
}

static int error_code(Bytes object)
{
        static const char key[] = "\"error_code\":";
        const uint8_t *at = object.size ? memmem(object.data, object.size, key, sizeof key - 1) : NULL,
                      *end = object.data + object.size;
        int code = 0;
        for (at = at ? at + sizeof key - 1 : end; at < end && code < 100000; at++) {
                if (*at >= '0' && *at <= '9')
                        code = code * 10 + (*at - '0');
                else if (*at != ' ')
                        break;
        }
        return code;
}

/* ERR_AUTH with the server's words if the answer is not a success. */
static Status check_answer(const Client *client, Bytes answer)
{
        if (answer.size && answer.data[0] == '{' && is_success(answer))
                return ST_OK;
        Buf text;
        buf_init(&text, HANDSHAKE_MAX_BYTES);
        Status st;
        if (answer.size && answer.data[0] == '{' && find_string(answer, "error", &text)) {
                int code = error_code(answer);
                st = status_new(code >= 10 && code <= 20 ? ERR_AUTH : ERR_IO, "%s refuses the login: %.*s",
                                client->peer, (int)text.size, (const char *)text.data);
        } else {
                st = status_hint(status_new(ERR_IO, "%s does not speak the protocol: it says \"%.*s\"", client->peer,
                                            (int)MIN(strcspn((const char *)answer.data, "\r\n"), MIN(answer.size, 100)),
                                            (const char *)answer.data),
                                 "is that the driver port? (28015 by default)");
        }
        buf_done(&text);
        return st;
}

static Status append_json_string(Buf *out, Bytes s)
{
        TRY(buf_append_byte(out, '"'));
        for (size_t i = 0; i < s.size; i++) {
                if (s.data[i] < 0x20)
                        TRY(buf_printf(out, "\\u%04x", s.data[i]));
                else if (s.data[i] == '"' || s.data[i] == '\\')
                        TRY(buf_printf(out, "\\%c", s.data[i]));
                else
                        TRY(buf_append_byte(out, s.data[i]));
        }
        return buf_append_byte(out, '"');
}

static Status send_buf(Client *client, const Buf *buf, int64_t deadline_ns)
{
        struct iovec part = {.iov_base = buf->data, .iov_len = buf->size};
        return write_all(client, &part, 1, deadline_ns);
}

static Status exchange(Client *client, ScramClient *scram, int64_t deadline_ns, Buf *out, Buf *word)
{
        uint8_t magic[4];
        Bytes answer;
        store_u32(magic, MAGIC_V1_0);
        TRY(buf_append(out, magic, sizeof magic));
        TRY(send_buf(client, out, deadline_ns));
        TRY(read_message(client, deadline_ns, &answer));
        TRY(check_answer(client, answer));

        TRY(scram_client_first(scram, word));
        buf_clear(out);
        TRY(buf_append_str(out,
                           "{\"protocol_version\":0,\"authentication_method\":\"SCRAM-SHA-256\",\"authentication\":"));
        TRY(append_json_string(out, BYTES(word->data, word->size)));
        TRY(buf_append(out, "}", 2)); /* with its NUL */
        TRY(send_buf(client, out, deadline_ns));
        TRY(read_message(client, deadline_ns, &answer));
        TRY(check_answer(client, answer));

        Buf proof;
        buf_init(&proof, HANDSHAKE_MAX_BYTES);
        buf_clear(word);
        Status st = find_string(answer, "authentication", word)
                            ? scram_client_proof(scram, BYTES(word->data, word->size), &proof)
                            : status_new(ERR_IO, "%s sent no challenge", client->peer);
        buf_clear(out);
        st = st ? st : buf_append_str(out, "{\"authentication\":");
        st = st ? st : append_json_string(out, BYTES(proof.data, proof.size));
        st = st ? st : buf_append(out, "}", 2);
        st = st ? st : send_buf(client, out, deadline_ns);
        if (proof.data)
                explicit_bzero(proof.data, proof.size);
        buf_done(&proof);
        TRY(st);
        TRY(read_message(client, deadline_ns, &answer));
        TRY(check_answer(client, answer));
        buf_clear(word);
        if (!find_string(answer, "authentication", word))
                return status_new(ERR_IO, "%s did not prove that it knows the password", client->peer);
        return scram_client_verify(scram, BYTES(word->data, word->size));
}

static Status login(Client *client, const ClientOptions *options, int64_t deadline_ns)
{
        ScramClient *scram = NULL;
        Buf out, word;
        buf_init(&out, HANDSHAKE_MAX_BYTES);
        buf_init(&word, HANDSHAKE_MAX_BYTES);
        Status st = scram_client_new(client->os, options->user, options->password, &scram);
        if (st == ST_OK)
                st = exchange(client, scram, deadline_ns, &out, &word);
        scram_client_free(scram);
        if (out.data)
                explicit_bzero(out.data, out.capacity);
        buf_done(&out);
        buf_done(&word);
        return st;
}

static char *peer_name(const ClientOptions *options)
{
        char text[300];
        bool v6 = strchr(options->host, ':') != NULL;
        snprintf(text, sizeof text, v6 ? "[%s]:%d" : "%s:%d", options->host, options->port);
        return mem_strdup(text);
}

Status client_connect(Os *os, const ClientOptions *options, Client **ret_client)
{
        Client *client = mem_zalloc(sizeof *client);
        if (!client)
                return status_nomem();
        client->os = os;
        client->fd = -1;
        buf_init(&client->input, INPUT_MAX_BYTES);
        client->peer = peer_name(options);
        int64_t deadline_ns = os_mono_ns(os) + (int64_t)MAX(options->timeout_ms, 1) * 1000000;
        Status st = client->peer ? ST_OK : status_nomem();
        if (st == ST_OK)
                st = connect_any(client, options, deadline_ns);
        if (st == ST_OK)
                st = login(client, options, deadline_ns);
        if (st)
                client_close(client);
        else
                *ret_client = client;
        return st;
}

Client *client_close(Client *client)
{
        if (client) {
                if (client->fd >= 0)
                        close(client->fd);
                buf_done(&client->input);
                mem_free(client->peer);
                mem_free(client);
        }
        return NULL;
}

/* --- queries --- */

Status client_send_token(Client *client, uint64_t token, Bytes query)
{
        uint8_t header[FRAME_HEADER_BYTES];
        if (query.size > UINT32_MAX)
                return status_new(ERR_LIMIT, "a query of %zu bytes does not fit into a frame", query.size);
        store_u64(header, token);
        store_u32(header + 8, (uint32_t)query.size);
        struct iovec parts[] = {{.iov_base = header, .iov_len = sizeof header},
                                {.iov_base = (void *)query.data, .iov_len = query.size}};
        return write_all(client, parts, ELEMENTS(parts), 0);
}

Status client_send(Client *client, Bytes query, uint64_t *ret_token)
{
        *ret_token = ++client->last_token;
        return client_send_token(client, *ret_token, query);
}

/* A frame that is there whole. */
static Status take_frame(Client *client, bool *ret_received, uint64_t *ret_token, Bytes *ret_body)
{
        size_t size = client->input.size - client->consumed;
        *ret_received = false;
        if (size < FRAME_HEADER_BYTES)
                return ST_OK;
        const uint8_t *from = client->input.data + client->consumed;
        size_t body_size = load_u32(from + 8);
        if (body_size > INPUT_MAX_BYTES / 2)
                return status_new(ERR_LIMIT, "%s sent a response of %zu bytes", client->peer, body_size);
        if (size < FRAME_HEADER_BYTES + body_size)
                return ST_OK;
        *ret_token = load_u64(from);
        *ret_body = BYTES(from + FRAME_HEADER_BYTES, body_size);
        client->consumed += FRAME_HEADER_BYTES + body_size;
        *ret_received = true;
        return ST_OK;
}

Status client_receive(Client *client, uint64_t *ret_token, Bytes *ret_body)
{
        for (;;) {
                bool received;
                TRY(take_frame(client, &received, ret_token, ret_body));
                if (received)
                        return ST_OK;
                TRY(read_more(client, 0));
        }
}

Status client_receive_or(Client *client, int wake_fd, int timeout_ms, bool *ret_received, uint64_t *ret_token,
                         Bytes *ret_body)
{
        int64_t deadline_ns = os_mono_ns(client->os) + (int64_t)timeout_ms * 1000000;
        for (;;) {
                TRY(take_frame(client, ret_received, ret_token, ret_body));
                if (*ret_received)
                        return ST_OK;
                struct pollfd waited[] = {{.fd = client->fd, .events = POLLIN}, {.fd = wake_fd, .events = POLLIN}};
                int64_t left_ms = (deadline_ns - os_mono_ns(client->os)) / 1000000;
                int n = poll(waited, ELEMENTS(waited), timeout_ms < 0 ? -1 : (int)MAX(left_ms, 0));
                if (n < 0 && errno != EINTR)
                        return status_errno(errno, "waiting for %s", client->peer);
                if (n > 0 && waited[1].revents)
                        return ST_OK;
                if (n > 0) {
                        bool blocked;
                        TRY(read_some(client, &blocked));
                } else if (timeout_ms >= 0 && left_ms <= 0) {
                        return ST_OK;
                }
        }
}

int client_fd(Client *client)
{
        return client->fd;
}
