"""lcore's own methods, as commands of spdk-rpc:

    PYTHONPATH=rpc/plugin spdk-rpc -s /tmp/echo.sock --plugin lcore_methods lcore_get_sockets --params '{"limit": 3}'
"""
import json

METHODS = ["lcore_get_histograms", "lcore_get_poll_groups", "lcore_get_sockets", "lcore_get_stalls", "lcore_get_stats"]


def spdk_rpc_plugin_initialize(subparsers):
    def call(args):
        print(json.dumps(args.client.call(args.called_rpc_name, args.params), indent=2))

    for method in METHODS:
        parser = subparsers.add_parser(method, help="see docs/rpc.md")
        parser.add_argument("--params", type=json.loads, help="an object of JSON")
        parser.set_defaults(func=call)
