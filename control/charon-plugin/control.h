/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Messages to Penstock's control process: docs/charon-plugin.md has the protocol.
 *
 * A request has a connection of its own: connect, send, one answer, close. A
 * cut leaves nothing half done on it, and every step ends at one deadline.
 */
#pragma once

#include <bio/bio_reader.h>
#include <bio/bio_writer.h>
#include <networking/host.h>
#include <threading/mutex.h>

typedef struct penstock_control_t penstock_control_t;
typedef struct penstock_frame_t penstock_frame_t;
typedef enum penstock_message_t penstock_message_t;

enum penstock_message_t {
	PENSTOCK_HELLO = 1,
	PENSTOCK_SYNC = 2,
	PENSTOCK_GET_SPI = 3,
	PENSTOCK_ADD_SA = 4,
	PENSTOCK_UPDATE_SA = 5,
	PENSTOCK_DEL_SA = 6,
	PENSTOCK_QUERY_SA = 7,
	PENSTOCK_FLUSH_SAS = 8,
	PENSTOCK_ADD_POLICY = 9,
	PENSTOCK_DEL_POLICY = 10,
	PENSTOCK_FLUSH_POLICIES = 11,
	PENSTOCK_EXPIRE = 32,
	PENSTOCK_MAPPING = 33,
};

/* Longest frame in bytes, on a connection for one request and on the one for events (SYNC lists every SA). */
#define PENSTOCK_REQUEST_MAX (64 * 1024)
#define PENSTOCK_EVENTS_MAX (8 * 1024 * 1024)

/* The request may or may not have been carried out: no answer came, or none that makes sense. */
#define OUTCOME_UNKNOWN INVALID_STATE

/* What it takes to reach control; the same for all threads of charon. */
struct penstock_control_t {
	char *path;           /* its unix socket */
	u_int timeout_ms;     /* for a whole request */
	uint64_t instance;    /* a random number that names this charon process */
	mutex_t *mutex;       /* guards: */
	bool lost;            /* the current outage was logged */
};

/* A received frame; the payload is the receiver's, to be freed. */
struct penstock_frame_t {
	uint8_t type;
	uint16_t status;
	chunk_t payload;
};

/* Reads the settings; NULL if the system has no random numbers. */
penstock_control_t *penstock_control_create(void);
void penstock_control_destroy(penstock_control_t *this);

/* When a request that starts now must be over, in ms of the monotonic clock. */
int64_t penstock_deadline(penstock_control_t *this);

/* A message to fill, of at most `size` bytes (more is copied, and copies of keys would stay behind). */
bio_writer_t *penstock_message(size_t size);

/* Wipes and frees a message that is not sent. */
void penstock_discard(bio_writer_t *message);

/* Connects at once or not at all: -1 and errno. */
int penstock_connect(penstock_control_t *this);

/* Sends a message, wipes and frees it. FALSE and errno when it did not leave in time. */
bool penstock_send(penstock_control_t *this, int fd, penstock_message_t type, bio_writer_t *message, int64_t deadline);

/* Receives one frame of at most `limit` bytes. FALSE and errno when none came in time. */
bool penstock_receive(int fd, size_t limit, int64_t deadline, penstock_frame_t *frame);

/* One request on a connection of its own; the message is wiped and freed in any case. The payload of a good answer
 * goes to `answer` if given. SUCCESS, NOT_FOUND, NOT_SUPPORTED, FAILED as control says, or OUTCOME_UNKNOWN. */
status_t penstock_request(penstock_control_t *this, penstock_message_t type, bio_writer_t *message, int64_t deadline,
						  chunk_t *answer);

/* What control says with a status: SUCCESS or an error, whose reason goes to charon's log. */
status_t penstock_verdict(penstock_message_t type, penstock_frame_t *frame);

/* Logs the begin (errno says why) and the end of an outage, once each. */
void penstock_outage(penstock_control_t *this, bool lost);

void penstock_write_address(bio_writer_t *message, host_t *host);
void penstock_write_sa(bio_writer_t *message, host_t *src, host_t *dst, uint32_t spi, uint8_t protocol);

/* NULL when the bytes are no address. */
host_t *penstock_read_address(bio_reader_t *reader);

/* FALSE when the bytes are no SA id; only what names it inside charon is kept. The caller destroys dst. */
bool penstock_read_sa(bio_reader_t *reader, host_t **dst, uint32_t *spi, uint8_t *protocol);
