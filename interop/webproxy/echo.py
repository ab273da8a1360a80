"""echo.py CARRIER SECRET PORT CERTIFICATE BYTES: opens two streams through the relay for
proxy.example.com on the port, and checks that the bytes that it sends come back."""
import asyncio
import os
import socket
import ssl
import sys

import aiohttp
from aiohttp.abc import AbstractResolver
from telethon_webproxy.carrier import WebSocketCarrier
from telethon_webproxy.carrier_https import HTTPSCarrier
from telethon_webproxy.carrier_lanes import WebSocketLanesCarrier

mode, secret, port, certificate, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])


class Resolver(AbstractResolver):
    """Resolves every name to the relay."""
    async def resolve(self, host, _port=0, family=socket.AF_INET):
        return [{'hostname': host, 'host': '127.0.0.1', 'port': port, 'family': socket.AF_INET, 'proto': 0, 'flags': 0}]

    async def close(self):
        pass


session = aiohttp.ClientSession
aiohttp.ClientSession = lambda: session(connector=aiohttp.TCPConnector(resolver=Resolver()))


async def exchange(carrier, stream):
    sent, received = os.urandom(size), bytearray()

    async def send():
        await carrier.send_data(stream, sent)

    sender = asyncio.create_task(send())
    while len(received) < size:
        received += await carrier.recv_data(stream)
    await sender
    if bytes(received) != sent:
        raise ValueError(f'other bytes came back in stream {stream}')
    await carrier.close_stream(stream)


async def main():
    cls = {'https': HTTPSCarrier, 'websocket': WebSocketCarrier, 'websocket-lanes': WebSocketLanesCarrier}[mode]
    carrier = cls('proxy.example.com', secret, ssl_context=ssl.create_default_context(cafile=certificate))
    await carrier.connect()
    # A poll loop that runs before connect has returned ends at once: it is started again.
    task = getattr(carrier, '_poll_task', None)
    if mode == 'https' and (task is None or task.done()):
        carrier._poll_task = asyncio.create_task(carrier._poll_loop())
    if carrier.carrier_mode != mode:
        raise ValueError(f'the carrier is {carrier.carrier_mode}')
    streams = [await carrier.open_stream() for _ in range(2)]
    await asyncio.gather(*(exchange(carrier, stream) for stream in streams))
    await carrier.disconnect()


asyncio.run(asyncio.wait_for(main(), 100))
