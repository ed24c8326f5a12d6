import CWireProtocol
import Device
import Fencing
import SystemPackage
import WireProtocol

extension Session {
    /// Serves a connection whose first message is GPUVM_DRM_OPEN: from there on it is an open file of
    /// a DRM node, until the last copy of its descriptor is closed.
    func serveOpenFile(
        _ received: consuming ReceivedMessage, _ buffer: borrowing MessageBuffer
    ) throws(WireError) {
        server.counters.requests.add(1, ordering: .relaxed)
        let message: IncomingDRMMessage
        do throws(DecodeFailure) {
            message = try IncomingDRMMessage(decoding: received)
        } catch {
            noteFailure("DRM_OPEN", error.error)
            return send(ReplyBuilder.failure(error))
        }
        let serial = message.serial
        let file: DRMOpenFile
        do throws(WireError) {
            file = try openFile(message)
        } catch {
            noteFailure("DRM_OPEN", error)
            return send(
                ReplyBuilder.failure(opcode: DRMOpcode.open.rawValue, serial: serial, error))
        }
        file.serve(self, buffer)
    }

    private func openFile(
        _ message: borrowing IncomingDRMMessage
    ) throws(WireError) -> DRMOpenFile {
        var reader = message.reader
        let request: gpuvm_drm_open = try reader.read()
        guard request.magic == GPUVM_PROTOCOL_MAGIC,
            UInt32(request.major) == GPUVM_PROTOCOL_MAJOR
        else {
            throw WireError(
                .protocolError,
                "DRM_OPEN is not of protocol \(GPUVM_PROTOCOL_MAJOR), which the daemon speaks")
        }
        let isRenderNode = request.node != GPUVM_DRM_PRIMARY.rawValue
        let nodes = [GPUVM_DRM_PRIMARY, GPUVM_DRM_RENDER, GPUVM_DRM_DESCRIPTORS]
        guard nodes.contains(where: { $0.rawValue == request.node }) else {
            throw .invalid("there is no node of type \(request.node)")
        }
        let name = try WireName.decode(request.name)
        let client = server.device.makeClient(
            name: name.isEmpty ? "pid-\(credentials.pid)" : name, process: credentials.pid,
            user: credentials.uid, isPrivileged: isPrivileged)
        // From here on the session's end closes the client, and nothing fails.
        adopt(client)
        logger.info(
            "open file", metadata: ["node": "\(request.minor_number)", "uid": "\(credentials.uid)"])
        var reply = gpuvm_drm_open_reply()
        reply.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        reply.minor = UInt16(GPUVM_PROTOCOL_MINOR)
        reply.client_id = client.id
        reply.driver = WireName.encode("nouveau")
        var builder = ReplyBuilder(to: DRMOpcode.open, serial: message.serial)
        builder.append(reply)
        // Before the reply: who has read it finds the file listed.
        let ledger = server.files.open(client)
        send(builder.finishInline())
        return DRMOpenFile(
            NouveauFile(server.nouveau, client: client, isRenderNode: isRenderNode),
            server: server, ledger: ledger, logger: logger, session: self)
    }
}
