/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "ipsec.h"
#include "events.h"

#include <daemon.h>

/* Flags of an SA in ADD_SA. */
#define FLAG_INBOUND 1
#define FLAG_INITIATOR 2
#define FLAG_ENCAP 4
#define FLAG_ESN 8
#define FLAG_UPDATE 16

/* query_sa() reports times of use. 5.9.8 always takes them and knows no such bit; later versions ask. */
#define SA_USE_TIME (1 << 5)

#define NEVER_USED UINT64_MAX

typedef struct {
	kernel_ipsec_t public;
	penstock_control_t *control;
	penstock_events_t *events;
} private_kernel_ipsec_t;

static bio_writer_t *message(void)
{
	return penstock_message(PENSTOCK_REQUEST_MAX);
}

static bio_writer_t *sa_message(kernel_ipsec_sa_id_t *id)
{
	bio_writer_t *body = message();

	penstock_write_sa(body, id->src, id->dst, id->spi, id->proto);
	return body;
}

static void write_selector(bio_writer_t *body, traffic_selector_t *selector)
{
	body->write_uint8(body, selector->get_protocol(selector));
	body->write_uint16(body, selector->get_from_port(selector));
	body->write_uint16(body, selector->get_to_port(selector));
	body->write_uint8(body, selector->get_type(selector) == TS_IPV4_ADDR_RANGE ? 4 : 6);
	body->write_data(body, selector->get_from_address(selector));
	body->write_data(body, selector->get_to_address(selector));
}

static void write_selectors(bio_writer_t *body, linked_list_t *selectors)
{
	enumerator_t *enumerator;
	traffic_selector_t *selector;

	body->write_uint16(body, selectors->get_count(selectors));
	enumerator = selectors->create_enumerator(selectors);
	while (enumerator->enumerate(enumerator, &selector))
		write_selector(body, selector);
	enumerator->destroy(enumerator);
}

/* Charon knows no "unknown": whatever it does next about a failure, the comparison of both lists settles it. */
static status_t known(status_t status)
{
	return status == OUTCOME_UNKNOWN ? FAILED : status;
}

/* A request that changes no SA, with its answer if there is one to read. */
static status_t request(private_kernel_ipsec_t *this, penstock_message_t type, bio_writer_t *body, chunk_t *answer)
{
	return known(penstock_request(this->control, type, body, penstock_deadline(this->control), answer));
}

/* A request that changes SAs; the caller changes the list accordingly and then leaves. */
static status_t enter(private_kernel_ipsec_t *this, penstock_message_t type, bio_writer_t *body, bool *entered)
{
	int64_t deadline = penstock_deadline(this->control);

	*entered = penstock_events_enter(this->events, deadline);
	if (!*entered) {
		penstock_discard(body);
		return OUTCOME_UNKNOWN;
	}
	return penstock_request(this->control, type, body, deadline, NULL);
}

static status_t leave(private_kernel_ipsec_t *this, status_t status, bool entered)
{
	penstock_events_leave(this->events, entered, status == OUTCOME_UNKNOWN);
	return known(status);
}

METHOD(kernel_ipsec_t, get_features, kernel_feature_t, private_kernel_ipsec_t *this)
{
	return KERNEL_POLICY_SPI | KERNEL_NO_POLICY_UPDATES | SA_USE_TIME;
}

METHOD(kernel_ipsec_t, get_spi, status_t, private_kernel_ipsec_t *this, host_t *src, host_t *dst, uint8_t protocol,
    uint32_t *spi)
{
	bio_writer_t *body = message();
	bio_reader_t *reader;
	chunk_t answer;
	status_t status;

	penstock_write_address(body, src);
	penstock_write_address(body, dst);
	body->write_uint8(body, protocol);
	status = request(this, PENSTOCK_GET_SPI, body, &answer);
	if (status == SUCCESS) {
		reader = bio_reader_create_own(answer);
		if (reader->read_uint32(reader, spi) && *spi && !reader->remaining(reader))
			*spi = htonl(*spi);
		else
			status = FAILED;
		reader->destroy(reader);
	}
	return status;
}

METHOD(kernel_ipsec_t, get_cpi, status_t, private_kernel_ipsec_t *this, host_t *src, host_t *dst, uint16_t *cpi)
{
	return NOT_SUPPORTED;
}

METHOD(kernel_ipsec_t, add_sa, status_t, private_kernel_ipsec_t *this, kernel_ipsec_sa_id_t *id,
    kernel_ipsec_add_sa_t *data)
{
	bio_writer_t *body = sa_message(id);
	lifetime_cfg_t *limit = data->lifetime;
	status_t status;
	bool entered;

	body->write_uint8(body, (data->inbound ? FLAG_INBOUND : 0) | (data->initiator ? FLAG_INITIATOR : 0) |
	                            (data->encap ? FLAG_ENCAP : 0) | (data->esn ? FLAG_ESN : 0) |
	                            (data->update ? FLAG_UPDATE : 0));
	body->write_uint32(body, data->reqid);
	body->write_uint8(body, data->mode);
	body->write_uint16(body, data->enc_alg);
	body->write_data16(body, data->enc_key);
	body->write_uint16(body, data->int_alg);
	body->write_data16(body, data->int_key);
	body->write_uint32(body, data->replay_window);
	body->write_uint64(body, limit->time.life);
	body->write_uint64(body, limit->time.rekey);
	body->write_uint64(body, limit->bytes.life);
	body->write_uint64(body, limit->bytes.rekey);
	body->write_uint64(body, limit->packets.life);
	body->write_uint64(body, limit->packets.rekey);
	body->write_uint32(body, data->tfc);
	body->write_uint16(body, data->ipcomp);
	write_selectors(body, data->src_ts);
	write_selectors(body, data->dst_ts);
	status = enter(this, PENSTOCK_ADD_SA, body, &entered);
	if (status == SUCCESS)
		penstock_events_add(this->events, id, data->inbound);
	return leave(this, status, entered);
}

METHOD(kernel_ipsec_t, update_sa, status_t, private_kernel_ipsec_t *this, kernel_ipsec_sa_id_t *id,
    kernel_ipsec_update_sa_t *data)
{
	bio_writer_t *body = sa_message(id);
	status_t status;
	bool entered;

	penstock_write_address(body, data->new_src);
	penstock_write_address(body, data->new_dst);
	body->write_uint8(body, data->encap);
	body->write_uint8(body, data->new_encap);
	body->write_uint32(body, data->new_reqid);
	status = enter(this, PENSTOCK_UPDATE_SA, body, &entered);
	if (status != NOT_SUPPORTED) /* every other failure charon ignores, and uses the new addresses */
		penstock_events_move(this->events, id, data->new_src, data->new_dst);
	return leave(this, status, entered);
}

METHOD(kernel_ipsec_t, query_sa, status_t, private_kernel_ipsec_t *this, kernel_ipsec_sa_id_t *id,
    kernel_ipsec_query_sa_t *data, uint64_t *bytes, uint64_t *packets, time_t *time)
{
	bio_reader_t *reader;
	chunk_t answer;
	status_t status;
	uint64_t idle_s;
	time_t now;

	status = request(this, PENSTOCK_QUERY_SA, sa_message(id), &answer);
	if (status == SUCCESS) {
		reader = bio_reader_create_own(answer);
		if (reader->read_uint64(reader, bytes) && reader->read_uint64(reader, packets) &&
		    reader->read_uint64(reader, &idle_s) && !reader->remaining(reader)) {
			now = time_monotonic(NULL);
			*time = idle_s != NEVER_USED && idle_s < (uint64_t)now ? now - (time_t)idle_s : 0;
		} else {
			status = FAILED;
		}
		reader->destroy(reader);
	}
	return status;
}

METHOD(kernel_ipsec_t, del_sa, status_t, private_kernel_ipsec_t *this, kernel_ipsec_sa_id_t *id,
    kernel_ipsec_del_sa_t *data)
{
	status_t status;
	bool entered;

	status = enter(this, PENSTOCK_DEL_SA, sa_message(id), &entered);
	penstock_events_remove(this->events, id);
	return leave(this, status, entered);
}

METHOD(kernel_ipsec_t, flush_sas, status_t, private_kernel_ipsec_t *this)
{
	status_t status;
	bool entered;

	status = enter(this, PENSTOCK_FLUSH_SAS, message(), &entered);
	penstock_events_clear(this->events);
	return leave(this, status, entered);
}

static status_t policy(private_kernel_ipsec_t *this, penstock_message_t type, kernel_ipsec_policy_id_t *id,
    kernel_ipsec_manage_policy_t *data)
{
	bio_writer_t *body = message();

	body->write_uint8(body, id->dir + 1);
	body->write_uint8(body, data->type);
	body->write_uint8(body, data->sa ? data->sa->mode : MODE_NONE);
	body->write_uint32(body, data->sa ? data->sa->reqid : 0);
	body->write_uint32(body, data->sa && data->sa->esp.use ? ntohl(data->sa->esp.spi) : 0);
	penstock_write_address(body, data->src);
	penstock_write_address(body, data->dst);
	write_selector(body, id->src_ts);
	write_selector(body, id->dst_ts);
	return request(this, type, body, NULL);
}

METHOD(kernel_ipsec_t, add_policy, status_t, private_kernel_ipsec_t *this, kernel_ipsec_policy_id_t *id,
    kernel_ipsec_manage_policy_t *data)
{
	return policy(this, PENSTOCK_ADD_POLICY, id, data);
}

METHOD(kernel_ipsec_t, del_policy, status_t, private_kernel_ipsec_t *this, kernel_ipsec_policy_id_t *id,
    kernel_ipsec_manage_policy_t *data)
{
	return policy(this, PENSTOCK_DEL_POLICY, id, data);
}

METHOD(kernel_ipsec_t, query_policy, status_t, private_kernel_ipsec_t *this, kernel_ipsec_policy_id_t *id,
    kernel_ipsec_query_policy_t *data, time_t *use_time)
{
	return NOT_SUPPORTED;
}

METHOD(kernel_ipsec_t, flush_policies, status_t, private_kernel_ipsec_t *this)
{
	return request(this, PENSTOCK_FLUSH_POLICIES, message(), NULL);
}

/* IKE packets never meet ESP here: the data path hands them to the socket by itself. */
METHOD(kernel_ipsec_t, bypass_socket, bool, private_kernel_ipsec_t *this, int fd, int family)
{
	return TRUE;
}

METHOD(kernel_ipsec_t, enable_udp_decap, bool, private_kernel_ipsec_t *this, int fd, int family, uint16_t port)
{
	return TRUE;
}

METHOD(kernel_ipsec_t, destroy, void, private_kernel_ipsec_t *this)
{
	if (this->events)
		penstock_events_destroy(this->events);
	if (this->control)
		penstock_control_destroy(this->control);
	free(this);
}

kernel_ipsec_t *penstock_ipsec_create(void)
{
	private_kernel_ipsec_t *this;

	INIT(this,
		.public = {
			.get_features = _get_features,
			.get_spi = _get_spi,
			.get_cpi = _get_cpi,
			.add_sa = _add_sa,
			.update_sa = _update_sa,
			.query_sa = _query_sa,
			.del_sa = _del_sa,
			.flush_sas = _flush_sas,
			.add_policy = _add_policy,
			.query_policy = _query_policy,
			.del_policy = _del_policy,
			.flush_policies = _flush_policies,
			.bypass_socket = _bypass_socket,
			.enable_udp_decap = _enable_udp_decap,
			.destroy = _destroy,
		},
		.control = penstock_control_create(),
	);
	this->events = this->control ? penstock_events_create(this->control) : NULL;
	if (!this->events) {
		destroy(this);
		return NULL;
	}
	return &this->public;
}
