/* What bindgen reads. Types that Rust must lay out itself, and macros that bindgen cannot
 * evaluate, become plain constants here. */
#pragma once

#include <stddef.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ip_frag.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

#include "shim.h"

/* Layout of struct rte_mbuf: src/mbuf.rs compares its own with these. */
#define FIELD(name) PENSTOCK_MBUF_OFFSET_##name = offsetof(struct rte_mbuf, name)
enum penstock_mbuf_layout {
	FIELD(buf_addr),
	FIELD(data_off),
	FIELD(refcnt),
	FIELD(nb_segs),
	FIELD(port),
	FIELD(ol_flags),
	FIELD(packet_type),
	FIELD(pkt_len),
	FIELD(data_len),
	FIELD(vlan_tci),
	FIELD(hash),
	FIELD(buf_len),
	FIELD(pool),
	FIELD(next),
	FIELD(tx_offload),
	FIELD(priv_size),
	PENSTOCK_MBUF_SIZE = sizeof(struct rte_mbuf),
	PENSTOCK_MBUF_ALIGN = _Alignof(struct rte_mbuf),
	PENSTOCK_MBUF_L2_LEN_BITS = RTE_MBUF_L2_LEN_BITS,
	PENSTOCK_MBUF_L3_LEN_BITS = RTE_MBUF_L3_LEN_BITS,
};
#undef FIELD

static const uint32_t PENSTOCK_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint32_t PENSTOCK_MAX_LCORE = RTE_MAX_LCORE;
static const uint32_t PENSTOCK_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE;
static const uint32_t PENSTOCK_MAX_FRAGMENTS = RTE_LIBRTE_IP_FRAG_MAX_FRAG;
static const uint32_t PENSTOCK_MAX_PORTS = RTE_MAX_ETHPORTS;

/* mbuf flags */
static const uint64_t PENSTOCK_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t PENSTOCK_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t PENSTOCK_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t PENSTOCK_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t PENSTOCK_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t PENSTOCK_MBUF_INDIRECT = RTE_MBUF_F_INDIRECT;
static const uint64_t PENSTOCK_MBUF_EXTERNAL = RTE_MBUF_F_EXTERNAL;

/* port */
static const uint64_t PENSTOCK_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t PENSTOCK_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t PENSTOCK_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t PENSTOCK_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t PENSTOCK_TX_OFFLOAD_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint64_t PENSTOCK_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t PENSTOCK_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t PENSTOCK_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t PENSTOCK_RSS_ESP = RTE_ETH_RSS_ESP;
static const uint64_t PENSTOCK_RSS_LEVEL_MASK = RTE_ETH_RSS_LEVEL_MASK;
static const uint64_t PENSTOCK_RSS_LEVEL_INNERMOST = RTE_ETH_RSS_LEVEL_INNERMOST;
static const uint32_t PENSTOCK_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t PENSTOCK_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t PENSTOCK_SPEED_UNKNOWN = RTE_ETH_SPEED_NUM_UNKNOWN;
