/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "control.h"

#include <daemon.h>

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PROTOCOL_VERSION 1
#define HEADER_LEN 16
#define LENGTH_LEN 4
#define DEFAULT_SOCKET "/run/penstock/charon.sock"
#define DEFAULT_TIMEOUT_S 3
#define REASON_MAX 200

/* Error codes of an answer that charon wants to tell apart. */
#define STATUS_NOT_FOUND 3
#define STATUS_REFUSED 4

static int64_t now_ms(void)
{
	timeval_t now;

	time_monotonic(&now);
	return now.tv_sec * 1000LL + now.tv_usec / 1000;
}

penstock_control_t *penstock_control_create(void)
{
	penstock_control_t *this;
	uint64_t instance;
	double timeout_s;

	if (getrandom(&instance, sizeof(instance), 0) != sizeof(instance))
		return NULL;
	timeout_s = lib->settings->get_double(lib->settings, "%s.plugins.penstock.timeout", DEFAULT_TIMEOUT_S, lib->ns);
	if (!(timeout_s >= 0.1 && timeout_s <= 60)) {
		DBG1(DBG_CFG, "plugins.penstock.timeout must be 0.1 to 60 seconds, using %d", DEFAULT_TIMEOUT_S);
		timeout_s = DEFAULT_TIMEOUT_S;
	}
	INIT(this,
		.path = strdup(lib->settings->get_str(lib->settings, "%s.plugins.penstock.socket", DEFAULT_SOCKET, lib->ns)),
		.timeout_ms = timeout_s * 1000,
		.instance = instance,
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
	);
	return this;
}

void penstock_control_destroy(penstock_control_t *this)
{
	this->mutex->destroy(this->mutex);
	free(this->path);
	free(this);
}

int64_t penstock_deadline(penstock_control_t *this)
{
	return now_ms() + this->timeout_ms;
}

bio_writer_t *penstock_message(size_t size)
{
	bio_writer_t *message = bio_writer_create(size);

	message->skip(message, HEADER_LEN);
	return message;
}

void penstock_discard(bio_writer_t *message)
{
	chunk_t frame = message->get_buf(message);

	memwipe(frame.ptr, frame.len);
	message->destroy(message);
}

int penstock_connect(penstock_control_t *this)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, saved;

	if (strlen(this->path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, this->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Moves exactly so many bytes over a non-blocking socket, in the direction that `event` is waited for. */
static bool transfer(int fd, short event, uint8_t *bytes, size_t len, int64_t deadline)
{
	struct pollfd ready = { .fd = fd, .events = event };
	ssize_t done;
	int64_t left_ms;

	while (len) {
		done = event == POLLIN ? recv(fd, bytes, len, 0) : send(fd, bytes, len, MSG_NOSIGNAL);
		if (done > 0) {
			bytes += done;
			len -= done;
		} else if (done == 0) {
			errno = ECONNRESET;
			return FALSE;
		} else if (errno == EAGAIN) {
			left_ms = deadline - now_ms();
			if (left_ms <= 0) {
				errno = ETIMEDOUT;
				return FALSE;
			}
			poll(&ready, 1, left_ms);
		} else if (errno != EINTR) {
			return FALSE;
		}
	}
	return TRUE;
}

bool penstock_send(penstock_control_t *this, int fd, penstock_message_t type, bio_writer_t *message, int64_t deadline)
{
	chunk_t frame = message->get_buf(message);
	bool sent;
	int saved;

	htoun32(frame.ptr, frame.len - LENGTH_LEN);
	frame.ptr[4] = PROTOCOL_VERSION;
	frame.ptr[5] = type;
	htoun16(frame.ptr + 6, 0);
	htoun64(frame.ptr + 8, this->instance);
	sent = transfer(fd, POLLOUT, frame.ptr, frame.len, deadline);
	saved = errno;
	penstock_discard(message);
	errno = saved;
	return sent;
}

bool penstock_receive(int fd, size_t limit, int64_t deadline, penstock_frame_t *frame)
{
	uint8_t header[HEADER_LEN];
	size_t len;

	if (!transfer(fd, POLLIN, header, sizeof(header), deadline))
		return FALSE;
	len = untoh32(header);
	if (len < HEADER_LEN - LENGTH_LEN || len > limit - LENGTH_LEN || header[4] != PROTOCOL_VERSION) {
		errno = EPROTO;
		return FALSE;
	}
	frame->type = header[5];
	frame->status = untoh16(header + 6);
	frame->payload = chunk_alloc(len - (HEADER_LEN - LENGTH_LEN));
	if (!transfer(fd, POLLIN, frame->payload.ptr, frame->payload.len, deadline)) {
		chunk_free(&frame->payload);
		return FALSE;
	}
	return TRUE;
}

void penstock_outage(penstock_control_t *this, bool lost)
{
	int reason = errno;
	bool changed;

	this->mutex->lock(this->mutex);
	changed = this->lost != lost;
	this->lost = lost;
	this->mutex->unlock(this->mutex);
	if (changed && lost) {
		DBG1(DBG_KNL, "penstock does not answer on %s: %s; nothing can be negotiated until it runs", this->path,
		    strerror(reason));
	} else if (changed) {
		DBG1(DBG_KNL, "penstock answers again on %s", this->path);
	}
}

status_t penstock_verdict(penstock_message_t type, penstock_frame_t *frame)
{
	bio_reader_t *reader;
	chunk_t text;
	char reason[REASON_MAX + 1] = "no reason given";
	size_t i;

	if (frame->status == 0)
		return SUCCESS;
	reader = bio_reader_create(frame->payload);
	if (reader->read_data16(reader, &text) && text.len) {
		text.len = min(text.len, REASON_MAX);
		for (i = 0; i < text.len; i++)
			reason[i] = isprint(text.ptr[i]) ? text.ptr[i] : '?';
		reason[i] = '\0';
	}
	reader->destroy(reader);
	DBG1(DBG_KNL, "penstock refuses request %d, error %d: %s", type, frame->status, reason);
	switch (frame->status) {
	case STATUS_NOT_FOUND:
		return NOT_FOUND;
	case STATUS_REFUSED:
		return NOT_SUPPORTED;
	default:
		return FAILED;
	}
}

/* An answer that is too short or of another type is none. */
static bool exchange(penstock_control_t *this, int fd, penstock_message_t type, bio_writer_t *message, int64_t deadline,
    penstock_frame_t *frame)
{
	if (!penstock_send(this, fd, type, message, deadline) ||
	    !penstock_receive(fd, PENSTOCK_REQUEST_MAX, deadline, frame)) {
		return FALSE;
	}
	if (frame->type != type) {
		chunk_free(&frame->payload);
		errno = EPROTO;
		return FALSE;
	}
	return TRUE;
}

status_t penstock_request(penstock_control_t *this, penstock_message_t type, bio_writer_t *message, int64_t deadline,
    chunk_t *answer)
{
	penstock_frame_t frame = {};
	status_t status;
	bool answered;
	int fd;

	fd = penstock_connect(this);
	if (fd < 0) {
		penstock_outage(this, TRUE);
		penstock_discard(message);
		return OUTCOME_UNKNOWN;
	}
	answered = exchange(this, fd, type, message, deadline, &frame);
	penstock_outage(this, !answered);
	close(fd);
	if (!answered)
		return OUTCOME_UNKNOWN;
	status = penstock_verdict(type, &frame);
	if (status == SUCCESS && answer) {
		*answer = frame.payload;
		return SUCCESS;
	}
	if (status == SUCCESS && frame.payload.len)
		status = OUTCOME_UNKNOWN; /* an answer that makes no sense is none */
	chunk_free(&frame.payload);
	return status;
}

void penstock_write_address(bio_writer_t *message, host_t *host)
{
	message->write_uint8(message, host->get_family(host) == AF_INET ? 4 : 6);
	message->write_uint16(message, host->get_port(host));
	message->write_data(message, host->get_address(host));
}

void penstock_write_sa(bio_writer_t *message, host_t *src, host_t *dst, uint32_t spi, uint8_t protocol)
{
	penstock_write_address(message, src);
	penstock_write_address(message, dst);
	message->write_uint32(message, ntohl(spi));
	message->write_uint8(message, protocol);
}

host_t *penstock_read_address(bio_reader_t *reader)
{
	uint8_t family;
	uint16_t port;
	chunk_t address;

	if (!reader->read_uint8(reader, &family) || (family != 4 && family != 6) || !reader->read_uint16(reader, &port) ||
	    !reader->read_data(reader, family == 4 ? 4 : 16, &address)) {
		return NULL;
	}
	return host_create_from_chunk(family == 4 ? AF_INET : AF_INET6, address, port);
}

bool penstock_read_sa(bio_reader_t *reader, host_t **dst, uint32_t *spi, uint8_t *protocol)
{
	host_t *src = penstock_read_address(reader);

	*dst = src ? penstock_read_address(reader) : NULL;
	DESTROY_IF(src);
	if (*dst && reader->read_uint32(reader, spi) && reader->read_uint8(reader, protocol)) {
		*spi = htonl(*spi);
		return TRUE;
	}
	DESTROY_IF(*dst);
	return FALSE;
}
