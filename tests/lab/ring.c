/* A port's ring in a lab: DPDK's net_pcap opens interfaces with libpcap's default of eight blocks, and the kernel begins a
 * new one each millisecond in which frames come. A worker that a busy machine stops for eight milliseconds loses frames.
 * Preloaded, this gives it sixteen times as many blocks.
 *
 * Workers poll, and one that finds nothing takes a whole core to do it. Where several gateways share a core each stops the
 * others for whole time slices. With LAB_RING_REST_US=100 in its environment, a worker that has found nothing for a while
 * sleeps so many microseconds between two looks. In return it wakes when it wants to, whatever else the machine does: it has
 * a real-time policy then, if that is allowed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct pcap pcap_t;
struct pcap_pkthdr;
pcap_t *pcap_create(const char *device, char *error);
int pcap_set_snaplen(pcap_t *pcap, int snaplen);
int pcap_set_promisc(pcap_t *pcap, int promiscuous);
int pcap_set_timeout(pcap_t *pcap, int milliseconds);
int pcap_set_buffer_size(pcap_t *pcap, int bytes);
int pcap_activate(pcap_t *pcap);
void pcap_close(pcap_t *pcap);

enum { LONGEST_FRAME = 9216, RING_BYTES = 32 << 20, LOOKS_BEFORE_REST = 16 };

typedef int next_ex(pcap_t *pcap, struct pcap_pkthdr **header, const unsigned char **frame);
typedef const unsigned char *next(pcap_t *pcap, struct pcap_pkthdr *header);

static next_ex *real_next_ex;
static next *real_next;
static useconds_t rest_us;
static _Thread_local unsigned int looks;
static _Thread_local int punctual;

__attribute__((constructor)) static void prepare(void)
{
	const char *wish = getenv("LAB_RING_REST_US");

	rest_us = wish == NULL ? 0 : (useconds_t)strtoul(wish, NULL, 10);
	real_next_ex = (next_ex *)dlsym(RTLD_NEXT, "pcap_next_ex");
	real_next = (next *)dlsym(RTLD_NEXT, "pcap_next");
}

static void rest(void)
{
	if (!punctual) {
		sched_setscheduler(0, SCHED_RR, &(struct sched_param){ .sched_priority = 1 });
		punctual = 1;
	}
	usleep(rest_us);
}

static void note(int found)
{
	if (found)
		looks = 0;
	else if (rest_us != 0 && ++looks > LOOKS_BEFORE_REST)
		rest();
}

int pcap_next_ex(pcap_t *pcap, struct pcap_pkthdr **header, const unsigned char **frame)
{
	int status = real_next_ex(pcap, header, frame);

	note(status == 1);
	return status;
}

const unsigned char *pcap_next(pcap_t *pcap, struct pcap_pkthdr *header)
{
	const unsigned char *frame = real_next(pcap, header);

	note(frame != NULL);
	return frame;
}

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
