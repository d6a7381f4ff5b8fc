#include "shim.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_power_intrinsics.h>

uint16_t penstock_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, packets, count);
}

uint16_t penstock_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, packets, count);
}

int penstock_rx_waiting(uint16_t port, uint16_t queue)
{
	return rte_eth_rx_queue_count(port, queue);
}

struct rte_mbuf *penstock_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int penstock_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **packets, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, packets, count);
}

void penstock_mbuf_free(struct rte_mbuf *packet)
{
	rte_pktmbuf_free(packet);
}

int penstock_errno(void)
{
	return rte_errno;
}

unsigned int penstock_lcore_id(void)
{
	return rte_lcore_id();
}

unsigned int penstock_pool_size(const struct rte_mempool *pool)
{
	return pool->size;
}

unsigned int penstock_pool_socket(const struct rte_mempool *pool)
{
	return pool->socket_id;
}

int penstock_pause_until(uint64_t cycles)
{
	return rte_power_pause(cycles);
}
