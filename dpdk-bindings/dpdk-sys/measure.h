/* Longest-prefix-match tables of DPDK, bound only with the feature `measure`. */
#pragma once

#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_lpm.h>
#include <rte_lpm6.h>

/* rte_lpm_lookup_bulk is static inline. */
int penstock_lpm_lookup_bulk(const struct rte_lpm *lpm, const uint32_t *ips, uint32_t *next_hops, unsigned int count);
