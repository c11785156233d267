# Signs and verifies by Stripe's official package for Python. A job on standard input, its answer on standard output:
#   {sign: [{payload, secret, timestamp}], verify: [{payload, header, secret, tolerance}]}
#   {version, headers: [text], verdicts: [null when accepted, else the error's message]}
import json
import sys

sys.path.insert(0, sys.argv[1])
import stripe

job = json.load(sys.stdin.buffer)


def verdict(payload, header, secret, tolerance):
    try:
        stripe.WebhookSignature.verify_header(payload, header, secret, tolerance)
        return None
    except stripe.SignatureVerificationError as error:
        return str(error).split("\n")[0]


headers = [
    stripe.WebhookSignature.generate_signature_header(item["payload"], item["secret"], item["timestamp"])
    for item in job["sign"]
]
verdicts = [
    verdict(item["payload"], item["header"], item["secret"], item["tolerance"]) for item in job["verify"]
]
json.dump({"version": stripe.VERSION, "headers": headers, "verdicts": verdicts}, sys.stdout)
