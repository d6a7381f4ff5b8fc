/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "events.h"

#include <collections/hashtable.h>
#include <daemon.h>
#include <threading/condvar.h>
#include <threading/thread.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 2000
#define SYNC_ENTRY_MAX 48 /* bytes of an SA in SYNC, IPv6 */

struct penstock_events_t {
	penstock_control_t *control;
	thread_t *thread;
	int wake;         /* eventfd: something below was set */
	mutex_t *mutex;   /* guards all that follows */
	condvar_t *turn;  /* `changing` or `comparing` fell */
	hashtable_t *sas; /* sa_t => itself */
	u_int changing;   /* requests in flight that change SAs */
	bool comparing;   /* a SYNC is open */
	bool wanted;      /* another SYNC is wanted */
	bool stop;
};

typedef struct {
	bool inbound;
	host_t *src;
	host_t *dst;
	uint32_t spi; /* network order */
	uint8_t protocol;
} sa_t;

static u_int sa_hash(const void *key)
{
	return ntohl(((const sa_t *)key)->spi); /* the random bits are the low ones */
}

static bool sa_equals(const void *left, const void *right)
{
	const sa_t *a = left, *b = right;

	return a->spi == b->spi && a->protocol == b->protocol && a->dst->ip_equals(a->dst, b->dst);
}

static void sa_destroy(sa_t *sa)
{
	if (sa) {
		sa->src->destroy(sa->src);
		sa->dst->destroy(sa->dst);
		free(sa);
	}
}

static sa_t *sa_create(host_t *src, host_t *dst, uint32_t spi, uint8_t protocol, bool inbound)
{
	sa_t *sa;

	return INIT(sa,
		.inbound = inbound,
		.src = src->clone(src),
		.dst = dst->clone(dst),
		.spi = spi,
		.protocol = protocol,
	);
}

static sa_t *take(penstock_events_t *this, kernel_ipsec_sa_id_t *id)
{
	sa_t key = { .dst = id->dst, .spi = id->spi, .protocol = id->proto };

	return this->sas->remove(this->sas, &key);
}

void penstock_events_add(penstock_events_t *this, kernel_ipsec_sa_id_t *id, bool inbound)
{
	sa_t *sa = sa_create(id->src, id->dst, id->spi, id->proto, inbound);

	this->mutex->lock(this->mutex);
	sa_destroy(this->sas->put(this->sas, sa, sa));
	this->mutex->unlock(this->mutex);
}

void penstock_events_remove(penstock_events_t *this, kernel_ipsec_sa_id_t *id)
{
	this->mutex->lock(this->mutex);
	sa_destroy(take(this, id));
	this->mutex->unlock(this->mutex);
}

void penstock_events_move(penstock_events_t *this, kernel_ipsec_sa_id_t *id, host_t *src, host_t *dst)
{
	sa_t *old, *moved;

	this->mutex->lock(this->mutex);
	old = take(this, id);
	if (old) {
		moved = sa_create(src, dst, old->spi, old->protocol, old->inbound);
		sa_destroy(this->sas->put(this->sas, moved, moved));
		sa_destroy(old);
	}
	this->mutex->unlock(this->mutex);
}

void penstock_events_clear(penstock_events_t *this)
{
	enumerator_t *enumerator;
	sa_t *sa;

	this->mutex->lock(this->mutex);
	enumerator = this->sas->create_enumerator(this->sas);
	while (enumerator->enumerate(enumerator, NULL, &sa)) {
		this->sas->remove_at(this->sas, enumerator);
		sa_destroy(sa);
	}
	enumerator->destroy(enumerator);
	this->mutex->unlock(this->mutex);
}

static void wake(penstock_events_t *this)
{
	uint64_t one = 1;

	/* It can only fail when it is set already. */
	ignore_result(write(this->wake, &one, sizeof(one)));
}

bool penstock_events_enter(penstock_events_t *this, int64_t deadline)
{
	timeval_t limit = { .tv_sec = deadline / 1000, .tv_usec = deadline % 1000 * 1000 };
	bool late = FALSE;

	this->mutex->lock(this->mutex);
	while (this->comparing && !late)
		late = this->turn->timed_wait_abs(this->turn, this->mutex, limit);
	late = this->comparing;
	if (!late)
		this->changing++;
	this->mutex->unlock(this->mutex);
	return !late;
}

void penstock_events_leave(penstock_events_t *this, bool entered, bool unknown)
{
	this->mutex->lock(this->mutex);
	this->changing -= entered;
	this->wanted |= unknown;
	this->turn->broadcast(this->turn);
	this->mutex->unlock(this->mutex);
	if (unknown)
		wake(this);
}

/* Waits until no SA changes, and keeps it so; returns the list. */
static bio_writer_t *begin_comparison(penstock_events_t *this)
{
	enumerator_t *enumerator;
	bio_writer_t *message;
	u_int count;
	sa_t *sa;

	this->mutex->lock(this->mutex);
	this->comparing = TRUE;
	while (this->changing) /* each of them has a deadline */
		this->turn->wait(this->turn, this->mutex);
	this->wanted = FALSE;
	count = this->sas->get_count(this->sas);
	message = penstock_message(64 + count * SYNC_ENTRY_MAX);
	message->write_uint32(message, count);
	enumerator = this->sas->create_enumerator(this->sas);
	while (enumerator->enumerate(enumerator, NULL, &sa)) {
		message->write_uint8(message, sa->inbound);
		penstock_write_sa(message, sa->src, sa->dst, sa->spi, sa->protocol);
	}
	enumerator->destroy(enumerator);
	this->mutex->unlock(this->mutex);
	return message;
}

static void end_comparison(penstock_events_t *this)
{
	this->mutex->lock(this->mutex);
	this->comparing = FALSE;
	this->turn->broadcast(this->turn);
	this->mutex->unlock(this->mutex);
}

/* Control does not have these: charon must not believe in them either. */
static bool expire_all(chunk_t payload)
{
	bio_reader_t *reader = bio_reader_create(payload);
	uint32_t count, spi;
	uint8_t protocol;
	host_t *dst;
	bool good;

	good = reader->read_uint32(reader, &count);
	for (; good && count; count--) {
		good = penstock_read_sa(reader, &dst, &spi, &protocol);
		if (good) {
			charon->kernel->expire(charon->kernel, protocol, spi, dst, TRUE);
			dst->destroy(dst);
		}
	}
	good = good && !reader->remaining(reader);
	reader->destroy(reader);
	return good;
}

/* Tells charon what happened; it makes jobs of it, so this takes no time. */
static bool dispatch(penstock_frame_t *frame)
{
	bio_reader_t *reader = bio_reader_create(frame->payload);
	host_t *dst = NULL, *remote = NULL;
	uint32_t spi;
	uint8_t protocol, hard;
	bool good;

	good = penstock_read_sa(reader, &dst, &spi, &protocol);
	if (good && frame->type == PENSTOCK_EXPIRE && reader->read_uint8(reader, &hard) && !reader->remaining(reader)) {
		charon->kernel->expire(charon->kernel, protocol, spi, dst, hard);
	} else if (good && frame->type == PENSTOCK_MAPPING && (remote = penstock_read_address(reader)) &&
	           !reader->remaining(reader)) {
		charon->kernel->mapping(charon->kernel, protocol, spi, dst, remote);
	} else {
		good = FALSE;
	}
	DESTROY_IF(remote);
	DESTROY_IF(dst);
	reader->destroy(reader);
	errno = EPROTO;
	return good;
}

/* The answer to what was sent, which `use` reads, or which is empty; events that come before it are served. */
static bool await(int fd, penstock_message_t type, int64_t deadline, bool (*use)(chunk_t))
{
	penstock_frame_t frame;
	bool good, mine;

	do {
		if (!penstock_receive(fd, PENSTOCK_EVENTS_MAX, deadline, &frame))
			return FALSE;
		mine = frame.type == type;
		good = mine ? penstock_verdict(type, &frame) == SUCCESS && (use ? use(frame.payload) : !frame.payload.len)
		            : dispatch(&frame);
		chunk_free(&frame.payload);
	} while (good && !mine);
	errno = EPROTO;
	return good;
}

static bool hello(penstock_events_t *this, int fd)
{
	int64_t deadline = penstock_deadline(this->control);
	bio_writer_t *message = penstock_message(256);

	message->write_data16(message, chunk_from_str(VERSION));
	message->write_data16(message, chunk_from_str(PENSTOCK_VERSION));
	return penstock_send(this->control, fd, PENSTOCK_HELLO, message, deadline) &&
	       await(fd, PENSTOCK_HELLO, deadline, NULL);
}

static bool compare(penstock_events_t *this, int fd)
{
	bio_writer_t *message = begin_comparison(this);
	int64_t deadline = penstock_deadline(this->control);
	bool good;

	good = penstock_send(this->control, fd, PENSTOCK_SYNC, message, deadline) &&
	       await(fd, PENSTOCK_SYNC, deadline, expire_all);
	end_comparison(this);
	return good;
}

static bool is_set(penstock_events_t *this, bool *flag)
{
	bool set;

	this->mutex->lock(this->mutex);
	set = *flag;
	this->mutex->unlock(this->mutex);
	return set;
}

/* Waits until somebody wakes this thread, `fd` has something to read, or so long (-1: forever). */
static void rest(penstock_events_t *this, int fd, int pause_ms)
{
	struct pollfd ready[] = { { .fd = this->wake, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	uint64_t count;

	poll(ready, countof(ready), pause_ms);
	ignore_result(read(this->wake, &count, sizeof(count)));
}

/* Serves the connection until it breaks (errno) or charon stops. */
static void serve(penstock_events_t *this, int fd)
{
	penstock_frame_t frame;
	bool good = TRUE;
	char byte;

	while (good && !is_set(this, &this->stop)) {
		if (is_set(this, &this->wanted)) {
			good = compare(this, fd);
		} else if (recv(fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN) {
			rest(this, fd, -1);
		} else if ((good = penstock_receive(fd, PENSTOCK_EVENTS_MAX, penstock_deadline(this->control), &frame))) {
			good = dispatch(&frame);
			chunk_free(&frame.payload);
		}
	}
}

static void *watch(penstock_events_t *this)
{
	u_int pause_ms = PAUSE_MIN_MS;
	int fd;

	while (!is_set(this, &this->stop)) {
		fd = penstock_connect(this->control);
		if (fd >= 0 && hello(this, fd) && compare(this, fd)) {
			penstock_outage(this->control, FALSE);
			pause_ms = PAUSE_MIN_MS;
			serve(this, fd);
		}
		if (!is_set(this, &this->stop))
			penstock_outage(this->control, TRUE);
		if (fd >= 0)
			close(fd);
		rest(this, -1, pause_ms);
		pause_ms = min(2 * pause_ms, PAUSE_MAX_MS);
	}
	return NULL;
}

penstock_events_t *penstock_events_create(penstock_control_t *control)
{
	penstock_events_t *this;
	sigset_t all, before;

	INIT(this,
		.control = control,
		.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.turn = condvar_create(CONDVAR_TYPE_DEFAULT),
		.sas = hashtable_create(sa_hash, sa_equals, 64),
	);
	/* Charon's own thread waits for signals; one that came here would end the process. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	this->thread = this->wake >= 0 ? thread_create((thread_main_t)watch, this) : NULL;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!this->thread) {
		penstock_events_destroy(this);
		return NULL;
	}
	return this;
}

void penstock_events_destroy(penstock_events_t *this)
{
	if (this->thread) {
		this->mutex->lock(this->mutex);
		this->stop = TRUE;
		this->mutex->unlock(this->mutex);
		wake(this);
		this->thread->join(this->thread);
	}
	penstock_events_clear(this);
	this->sas->destroy(this->sas);
	this->turn->destroy(this->turn);
	this->mutex->destroy(this->mutex);
	if (this->wake >= 0)
		close(this->wake);
	free(this);
}
