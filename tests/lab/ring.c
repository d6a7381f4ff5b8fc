/* A port's ring in a lab: DPDK's net_pcap opens interfaces with libpcap's default of eight blocks, and the kernel begins a
 * new one each millisecond in which frames come. A worker that a busy machine stops for eight milliseconds loses frames.
 * Preloaded, this gives it sixteen times as many blocks. */
#include <stddef.h>

typedef struct pcap pcap_t;
pcap_t *pcap_create(const char *device, char *error);
int pcap_set_snaplen(pcap_t *pcap, int snaplen);
int pcap_set_promisc(pcap_t *pcap, int promiscuous);
int pcap_set_timeout(pcap_t *pcap, int milliseconds);
int pcap_set_buffer_size(pcap_t *pcap, int bytes);
int pcap_activate(pcap_t *pcap);
void pcap_close(pcap_t *pcap);

enum { LONGEST_FRAME = 9216, RING_BYTES = 32 << 20 };

pcap_t *pcap_open_live(const char *device, int snaplen, int promiscuous, int milliseconds, char *error)
{
	pcap_t *pcap = pcap_create(device, error);

	if (pcap == NULL)
		return NULL;
	pcap_set_snaplen(pcap, snaplen < LONGEST_FRAME ? snaplen : LONGEST_FRAME);
	pcap_set_promisc(pcap, promiscuous);
	pcap_set_timeout(pcap, milliseconds);
	pcap_set_buffer_size(pcap, RING_BYTES);
	if (pcap_activate(pcap) >= 0)
		return pcap;
	pcap_close(pcap);
	return NULL;
}
