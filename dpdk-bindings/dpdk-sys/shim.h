/* The static inline functions of DPDK that Rust needs, as functions with a symbol. */
#pragma once

#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;

uint16_t penstock_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count);
uint16_t penstock_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count);
int penstock_rx_waiting(uint16_t port, uint16_t queue);

struct rte_mbuf *penstock_mbuf_alloc(struct rte_mempool *pool);
int penstock_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **packets, unsigned int count);
void penstock_mbuf_free(struct rte_mbuf *packet);

int penstock_errno(void);
unsigned int penstock_lcore_id(void);
unsigned int penstock_pool_size(const struct rte_mempool *pool);
unsigned int penstock_pool_socket(const struct rte_mempool *pool);

/* Negative where the processor cannot wait. An experimental function in DPDK 22.11. */
int penstock_pause_until(uint64_t cycles);
