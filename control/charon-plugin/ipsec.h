/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Penstock in the place where charon expects the kernel's SAD and SPD. Every
 * call becomes one message; what to do with it is decided on the other side.
 */
#pragma once

#include <kernel/kernel_ipsec.h>

/* A kernel_ipsec_constructor_t. NULL if the thread for events cannot be made. */
kernel_ipsec_t *penstock_ipsec_create(void);
