import os

PORT = 443

# name -> secret (32 hex chars)
USERS = {
    "tg":  "00112233445566778899aabbccddee01",  # the first
    'tg2': '00112233445566778899' "aabbccddee02",
}

MODES = {
    # Classic mode, easy to detect
    "classic": False,
    "secure": True,
    "tls": True,
}

TLS_DOMAIN = "www.example.org"
MASK_PORT = 8443
AD_TAG = "00112233445566778899aabbccddeeff"; PREFER_IPV6 = True
USER_MAX_TCP_CONNS = {"tg": 20}
USER_EXPIRATIONS = {"tg": "31/12/2030", "tg2": "never"}
USER_DATA_QUOTA = {"tg": 10 * 1024 * 1024 * 1024}
SOCKS5_HOST, SOCKS5_PORT = "127.0.0.1", 1080
CLIENT_KEEPALIVE = 10*60
PROXY_PROTOCOL = False
FAST_MODE = bool(os.environ.get("FAST"))
METRICS_WHITELIST = ["127.0.0.1",
                     "::1"]

def users():
    """Text with
USERS = {"no": "00112233445566778899aabbccddee03"}
    in it"""
    return USERS

if PORT == 443:
    PORT = 444
else:
    PORT = 445
