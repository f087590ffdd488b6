#!/usr/bin/env python3
"""A minimal EchoMesh client: log in, create a room, join it, chat, print what comes back.

Needs protobuf for Python and the generated module beside it or on PYTHONPATH:
    protoc -I proto --python_out=. proto/message.proto
Speaks plaintext, which a server takes from its own machine only:
    python_client.py PORT NAME PASSWORD ROOM TEXT...
All requests are sent at once: the server carries them out in order.
"""
import socket
import struct
import sys

import message_pb2 as pb


def frame(message):
    """A 4-byte big-endian length, then the message."""
    body = message.SerializeToString()
    return struct.pack(">I", len(body)) + body


def read_exactly(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            sys.exit("the server closed the connection")
        data += part
    return data


def read(connection):
    (length,) = struct.unpack(">I", read_exactly(connection, 4))
    return pb.EchoMsg.FromString(read_exactly(connection, length))


def main():
    port, name, password, room, *texts = sys.argv[1:]
    requests = [
        pb.EchoMsg(type=pb.MT_LOGIN_REQUEST, login_request=pb.LoginRequest(username=name, password=password)),
        pb.EchoMsg(type=pb.MT_ROOM_ACTION, room_action=pb.RoomAction(action_type=pb.RA_CREATE, room_id=room)),
        pb.EchoMsg(type=pb.MT_ROOM_ACTION, room_action=pb.RoomAction(action_type=pb.RA_JOIN, room_id=room)),
    ]
    requests += [pb.EchoMsg(type=pb.MT_CHAT_MSG, chat_msg=pb.ChatMsg(room_id=room, content=text)) for text in texts]
    with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as connection:
        connection.sendall(b"".join(frame(request) for request in requests))
        own_id, unanswered = None, len(requests)
        while unanswered:
            message = read(connection)
            body = message.WhichOneof("body")
            print(pb.MsgType.Name(message.type), str(getattr(message, body)).replace("\n", " "), flush=True)
            if body == "login_response":
                own_id = message.login_response.user_id
            # What others say and do comes in between; the rest are answers, one to each request.
            if body != "room_event" and not (body == "chat_msg" and message.chat_msg.user_id != own_id):
                unanswered -= 1


if __name__ == "__main__":
    main()
