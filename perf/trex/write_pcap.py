#!/usr/bin/python3
"""Writes the frames of a case to a pcap file, for generators that replay one (pktgen's -s).

  perf/trex/write_pcap.py --case gre-decap --size 512 --tunnels 1000 --gateway-mac MAC decap-512.pcap
"""

import argparse

import frames
from scapy.utils import wrpcap


def main():
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=frames.CASES, default="gre-encap")
    parser.add_argument("--size", type=int, default=64, help="bytes of the inner IP packet")
    parser.add_argument("--tunnels", type=int, default=1)
    parser.add_argument("--flows", type=int, default=512)
    parser.add_argument("--gateway-mac", default="02:00:00:00:00:01")
    parser.add_argument("file")
    options = parser.parse_args()
    wrpcap(options.file, frames.frames(options.case, options.size, options.tunnels, options.flows, options.gateway_mac))


if __name__ == "__main__":
    main()
