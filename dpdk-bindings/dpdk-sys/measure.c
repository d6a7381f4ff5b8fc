#include "measure.h"

int penstock_lpm_lookup_bulk(const struct rte_lpm *lpm, const uint32_t *ips, uint32_t *next_hops, unsigned int count)
{
	return rte_lpm_lookup_bulk(lpm, ips, next_hops, count);
}
