"""frames.py SEED: prints frames that telethon-webproxy has encoded, a JSON object per line, then
parses the batches on standard input, hexadecimal and one per line, and prints its frames."""
import json
import random
import sys

from telethon_webproxy import protocol

r = random.Random(int(sys.argv[1]))


def encoded():
    stream = r.choice([1, 2, 7777, protocol.MAX_STREAM_ID, r.randint(1, protocol.MAX_STREAM_ID)])
    kind = r.choice(['OPEN', 'DATA', 'CLOSE', 'WINDOW', 'PING', 'PONG', 'BYE', 'HELLO', 'WELCOME'])
    if kind == 'HELLO':
        return kind, 0, b'\x01', protocol.encode_hello()
    if kind == 'WELCOME':
        return kind, 0, b'', protocol.encode_welcome()
    if kind == 'WINDOW':
        delta = r.randint(1, 2**32 - 1)
        return kind, stream, delta.to_bytes(4, 'big'), protocol.encode_window(stream, delta)
    payload = b''
    if kind == 'DATA':
        payload = r.randbytes(r.choice([1, 100, protocol.DATA_CHUNK]))
    if kind in ('PING', 'PONG', 'BYE'):
        stream, payload = 0, r.randbytes(r.randint(0, 64))
    return kind, stream, payload, protocol.encode_frame(protocol.FrameType[kind], stream, payload)


for _ in range(200):
    kind, stream, payload, b = encoded()
    print(json.dumps({'type': kind, 'stream': stream, 'payload': payload.hex(), 'encoded': b.hex()}))
for _ in range(20):
    secret, host = r.choice(['', 'dd']) + r.randbytes(16).hex(), f'h{r.randint(0, 10**9)}.example.com'
    print(json.dumps({'secret': secret, 'host': host, 'capability': protocol.compute_capability_from_hex(host, secret)}))
print(json.dumps({}), flush=True)

for line in sys.stdin:
    try:
        frames = [{'type': f.type.name, 'stream': f.stream_id, 'payload': f.payload.hex()}
                  for f in protocol.parse_frames(bytes.fromhex(line))]
        print(json.dumps({'frames': frames}))
    except ValueError as e:
        print(json.dumps({'error': str(e)}))
