/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What strongSwan's headers ask of its own config.h, as it is on Linux with
 * glibc and gcc. VERSION and PENSTOCK_VERSION come from scripts/charon-plugin.
 */
#pragma once

#define CONFIG_H_INCLUDED
#define HAVE_ALLOCA_H
#define HAVE_CLOCK_GETTIME
#define HAVE_CLOSEFROM
#define HAVE_CONDATTR_CLOCK_MONOTONIC
#define HAVE_EXPLICIT_BZERO
#define HAVE_FMEMOPEN
#define HAVE_GCC_ATOMIC_OPERATIONS
#define HAVE_GCC_SYNC_OPERATIONS
#define HAVE_INT128
#define HAVE_MEMRCHR
#define HAVE_PRINTF_SPECIFIER
#define HAVE_SIGWAITINFO
#define HAVE_STDBOOL_H
#define HAVE_SYS_PARAM_H
#define HAVE__BOOL 1

/* Mediation: members at the end of structures, which Debian's build has. */
#define ME
