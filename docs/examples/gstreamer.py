#!/usr/bin/env python3
"""A voice client whose RTP, SRTP and Opus are GStreamer's: says a tone or a WAV file, hears the room.

`echomesh voice-params` logs in, holds the place in the room and tells keys; its settings (server, user,
password, fingerprint) come from the environment, see `echomesh --help`. Needs python3-gi,
gir1.2-gstreamer-1.0 and GStreamer's good and bad plugins: gstreamer.sh installs them and runs this.

One UDP socket for both ways, as the server sends to where it heard an authenticated packet from. RTCP of
rtpbin keeps that path open (docs/PROTOCOL.md, M33). Keys that are new after a reconnect are taken over.
A set of keys is used by one run only: a second would use its indices again.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib, Gst  # noqa: E402

OPUS = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=%d"
GCM = "rtp-cipher={0} rtp-auth=null rtcp-cipher={0} rtcp-auth=null"
# Bits a second; the server may allow less.
BITRATE = 64_000
# Silence from a live source keeps the recording's time when nobody talks.
PIPELINE = """
  {source} ! audioconvert ! audioresample ! audio/x-raw,rate=48000 ! opusenc name=opus frame-size=20
    ! rtpopuspay pt={payload_type} ssrc={ssrc} seqnum-offset={first} ! rtp.send_rtp_sink_0
  rtp.send_rtp_src_0 ! enc.rtp_sink_0  rtp.send_rtcp_src_0 ! enc.rtcp_sink_0
  srtpenc name=enc {gcm}  enc.rtp_src_0 ! all.  enc.rtcp_src_0 ! all.
  funnel name=all ! udpsink name=out host={server} port={port} sync=false async=false close-socket=false
  udpsrc name=in caps=application/x-srtp close-socket=false ! srtpdec name=dec
  dec.rtp_src ! rtp.recv_rtp_sink_0  dec.rtcp_src ! rtp.recv_rtcp_sink_0
  rtpbin name=rtp latency=60
  audiotestsrc is-live=true wave=silence ! audio/x-raw,rate=48000,channels=1 ! mix.
  audiomixer name=mix ! audioconvert ! audio/x-raw,format=S16LE,rate=48000,channels=1
    ! wavenc ! filesink location={heard}
"""


class Client:
    def __init__(self, args, params):
        self.params, self.loop, self.failed = params, GLib.MainLoop(), False
        self.socket = Gio.Socket.new(
            Gio.InetAddress.new_from_string(params["server"]).get_family(), Gio.SocketType.DATAGRAM, Gio.SocketProtocol.UDP
        )
        any_address = Gio.InetAddress.new_any(self.socket.get_family())
        self.socket.bind(Gio.InetSocketAddress.new(any_address, 0), False)
        self.pipeline = Gst.parse_launch(
            PIPELINE.format(
                source=source(args), heard=quoted(args.heard), first=params["uplink"]["first_sequence"],
                gcm=GCM.format(params["cipher"]), **{name: params[name] for name in ("payload_type", "ssrc", "server", "port")},
            )
        )
        for name in ("in", "out"):
            self.pipeline.get_by_name(name).set_property("socket", self.socket)
        self.decoder, self.encoder = (self.pipeline.get_by_name(name) for name in ("dec", "enc"))
        self.decoder.connect("request-key", self.downlink_key)
        rtp = self.pipeline.get_by_name("rtp")
        rtp.connect("request-pt-map", lambda _bin, _session, payload_type: Gst.Caps.from_string(OPUS % payload_type))
        rtp.connect("pad-added", self.hear)
        self.take_keys(params)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.message)

    def take_keys(self, params):
        """Both directions have a key of their own; the downlink's protects every SSRC that is heard."""
        self.params = params
        key = bytes.fromhex(params["uplink"]["key_salt_hex"])
        self.encoder.set_property("key", Gst.Buffer.new_wrapped(key))
        self.pipeline.get_by_name("opus").set_property("bitrate", min(BITRATE, params["bitrate_max"] or BITRATE))
        self.decoder.emit("clear-keys")

    def downlink_key(self, _decoder, ssrc):
        roc = next((stream["roc"] for stream in self.params["streams"] if stream["ssrc"] == ssrc), 0)
        key, cipher = self.params["downlink"]["key_salt_hex"], self.params["cipher"]
        return Gst.Caps.from_string(
            f"application/x-srtp,srtp-key=(buffer){key},srtp-cipher={cipher},srtp-auth=null,"
            f"srtcp-cipher={cipher},srtcp-auth=null,roc=(uint){roc}"
        )

    def hear(self, _bin, pad):
        """A stream that rtpbin found: decoded and mixed with the others."""
        if not pad.get_name().startswith("recv_rtp_src"):
            return
        chain = Gst.parse_bin_from_description("rtpopusdepay ! opusdec plc=true ! audioconvert ! audioresample", True)
        self.pipeline.add(chain)
        chain.link(self.pipeline.get_by_name("mix"))
        chain.sync_state_with_parent()
        pad.link(chain.get_static_pad("sink"))

    def line(self, text):
        """What voice-params tells later."""
        told = json.loads(text)
        if told["event"] != "voice":
            others = [stream for stream in self.params["streams"] if stream["ssrc"] != told["ssrc"]]
            self.params["streams"] = others + [told] * (told["event"] == "stream")
        elif all(told[name] == self.params[name] for name in ("ssrc", "server", "port")):
            self.take_keys(told)
        else:
            self.fail("the server was started anew and gave another stream: run this again")

    def fail(self, *why):
        print("gstreamer:", *why, file=sys.stderr)
        self.failed = True
        self.end()

    def message(self, _bus, message):
        if message.type == Gst.MessageType.ERROR:
            self.fail(*message.parse_error())
        if message.type == Gst.MessageType.EOS:
            self.loop.quit()

    def end(self, *_):
        """The end of the stream completes the WAV file; it is not waited for long."""
        self.pipeline.send_event(Gst.Event.new_eos())
        GLib.timeout_add_seconds(3, self.loop.quit)
        return GLib.SOURCE_REMOVE

    def run(self, seconds):
        GLib.timeout_add(int(seconds * 1000), self.end)
        for number in (signal.SIGINT, signal.SIGTERM):
            GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, self.end)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        stats = self.decoder.get_property("stats")
        print("gstreamer: packets opened and dropped:", stats.get_value("recv-count"), stats.get_value("recv-drop-count"))
        self.pipeline.set_state(Gst.State.NULL)
        return self.failed


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def source(args):
    if args.wav:
        # Silence after its end: without a stream rtpbin would say goodbye.
        file = f"filesrc location={quoted(args.wav)} ! wavparse ! audioconvert ! audioresample ! said."
        return f"{file} audiotestsrc is-live=true wave=silence ! audio/x-raw,rate=48000 ! said. audiomixer name=said"
    return f"audiotestsrc is-live=true freq={args.tone} volume=0.3"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room")
    parser.add_argument("--tone", type=float, default=440, help="what to say, Hz")
    parser.add_argument("--wav", help="a WAV file to say instead")
    parser.add_argument("--heard", default="heard.wav", help="where what is heard goes")
    parser.add_argument("--for", dest="seconds", type=float, default=10)
    args = parser.parse_args()
    Gst.init(None)
    program = os.environ.get("ECHOMESH", "echomesh")
    command = [program, "voice-params", args.room, "--json", "--create", "--for", str(args.seconds + 10)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        first = holder.stdout.readline()
        if not first:
            sys.exit(f"{program} told no keys")
        client = Client(args, json.loads(first))

        def read():
            for text in holder.stdout:
                GLib.idle_add(client.line, text)
            GLib.idle_add(client.fail, "voice-params ended")

        threading.Thread(target=read, daemon=True).start()
        sys.exit(client.run(args.seconds))
    finally:
        holder.terminate()
        holder.wait(10)


main()
