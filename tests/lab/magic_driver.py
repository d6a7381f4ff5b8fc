"""Makes one call of the published client; runs in its virtual environment. Request and answer are JSON."""

import json
import ssl
import sys

import cloudflare
import httpx


def main():
    """One call."""
    request = json.load(sys.stdin)
    context = ssl.create_default_context(cafile=request["ca"])
    context.load_cert_chain(request["certificate"], request["key"])
    client = cloudflare.Cloudflare(
        base_url=request["base_url"],
        api_token="not looked at",
        max_retries=0,
        http_client=httpx.Client(verify=context),
    )
    place, method = request["method"].split(".")
    try:
        answer = getattr(getattr(client.magic_transit, place), method)(**request["arguments"])
    except cloudflare.APIStatusError as error:
        json.dump({"status": error.status_code, "error": error.body}, sys.stdout)
        return
    json.dump({"result": answer.model_dump(mode="json", exclude_unset=True)}, sys.stdout)


main()
