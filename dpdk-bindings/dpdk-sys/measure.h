/* Longest-prefix-match tables of DPDK, bound only with the feature `measure`. */
#pragma once

#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_lpm.h>
#include <rte_lpm6.h>
