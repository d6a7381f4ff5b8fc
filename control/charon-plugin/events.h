/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The SAs that charon believes installed, and the connection on which control
 * says what happened to them. After each (re)connection, and after a request
 * whose outcome nobody knows, both lists are compared (SYNC); no SA changes
 * while that goes on, so that the comparison is exact.
 */
#pragma once

#include "control.h"

#include <kernel/kernel_ipsec.h>

typedef struct penstock_events_t penstock_events_t;

/* Starts the thread that keeps the connection. It is none of charon's pool. NULL if there can be no thread. */
penstock_events_t *penstock_events_create(penstock_control_t *control);
void penstock_events_destroy(penstock_events_t *this);

/* Begins a change of SAs. FALSE if a comparison did not end before the deadline. */
bool penstock_events_enter(penstock_events_t *this, int64_t deadline);

/* Ends it; `unknown` asks for a comparison. */
void penstock_events_leave(penstock_events_t *this, bool entered, bool unknown);

void penstock_events_add(penstock_events_t *this, kernel_ipsec_sa_id_t *id, bool inbound);
void penstock_events_remove(penstock_events_t *this, kernel_ipsec_sa_id_t *id);
void penstock_events_move(penstock_events_t *this, kernel_ipsec_sa_id_t *id, host_t *src, host_t *dst);
void penstock_events_clear(penstock_events_t *this);
