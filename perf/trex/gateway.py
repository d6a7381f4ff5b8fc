#!/usr/bin/python3
"""Writes the gateway's configuration for the traffic of frames.py to standard output.

  perf/trex/gateway.py --edge 0000:3b:00.0 --core 0000:3b:00.1 --workers 2-5 --tunnels 1000 > bench.yaml
"""

import argparse

import frames

HEAD = """\
node: {{name: bench}}
memory: {{hugepages: true, size_mib: 4096}}
cores: {{control: {control}, workers: "{workers}"}}
ports:
  edge0: {{device: "{edge}", addresses: [198.18.0.1/24]}}
  core0: {{device: "{core}", addresses: [198.18.1.1/24]}}
routes:
  - {{prefix: 0.0.0.0/0, via: 198.18.0.2}}
  - {{prefix: 198.19.0.0/16, via: 198.18.1.2}}
endpoints: {{anycast4: {endpoint}}}
tenants:
  bench:
    prefixes: [100.64.0.0/10]
    tunnels:"""


def main():
    """Prints one tenant with all tunnels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", required=True, help="device that faces tester port 0")
    parser.add_argument("--core", required=True, help="device that faces tester port 1")
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--tunnels", type=int, default=1)
    options = parser.parse_args()
    if not 1 <= options.tunnels <= frames.MAX_TUNNELS:
        parser.error(f"--tunnels must be 1 to {frames.MAX_TUNNELS}")
    print(HEAD.format(endpoint=frames.ENDPOINT, **vars(options)))
    for tunnel in range(options.tunnels):
        print(f"      t{tunnel}: {{type: gre, endpoint: anycast4, remote: {frames.remote(tunnel)}}}")
    print("    routes:\n      - {prefix: 0.0.0.0/0, via: internet}")
    for tunnel in range(options.tunnels):
        print(f"      - {{prefix: {frames.inside(tunnel, host=0)}/30, via: t{tunnel}}}")


if __name__ == "__main__":
    main()
