import CWireProtocol
import Device
import Engines
import Scheduling
import WireProtocol

extension Session {
    func createQueue(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_queue_create = try reader.read()
        try requireZero(request.flags, "flags")
        guard let engineClass = DeviceQueue.EngineClass(rawValue: request.engine_class) else {
            throw .invalid("engine class \(request.engine_class): 0 is copy and 1 is bind")
        }
        guard request.priority <= UInt32(QueuePriority.high.rawValue),
            let priority = QueuePriority(rawValue: UInt8(request.priority))
        else {
            throw .invalid("priority \(request.priority): 0 is low, 1 normal and 2 high")
        }
        let handle = try onDevice { () throws(DeviceError) in
            try client.createQueue(
                vm: request.vm, engineClass: engineClass,
                instance: Int(request.engine_instance), priority: priority,
                timeout: request.timeout_ns == 0 ? nil : request.timeout_ns)
        }
        var builder = ReplyBuilder(to: .queueCreate, serial: message.serial)
        builder.append(gpuvm_handle_reply(handle: handle, reserved: 0))
        return builder.finishInline()
    }

    func queueInfo(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let handle = try readHandle(message)
        let queue = try onDevice { () throws(DeviceError) in try client.queue(handle) }
        let status = queue.jobs.status
        var info = gpuvm_queue_info_reply()
        info.vm = queue.vm.id
        info.engine_class = queue.engineClass.rawValue
        info.engine_instance = UInt16(queue.engineInstance)
        info.priority = UInt32(queue.jobs.priority.rawValue)
        if case .banned(let reason) = status.state { info.banned = UInt32(reason) }
        info.submitted = status.jobs.submitted
        info.completed = status.jobs.completed
        info.failed = status.jobs.failed
        info.cancelled = status.jobs.cancelled
        var builder = ReplyBuilder(to: .queueInfo, serial: message.serial)
        builder.append(info)
        return try builder.finish()
    }

    func exec(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_exec = try reader.read()
        try requireZero(request.flags, "flags")
        try requireZero(request.reserved, "reserved")
        let wireBatches: WireArray<gpuvm_batch> = try reader.readArray(
            count: request.batch_count, limit: Self.maxSyncs, "batches")
        let waits: WireArray<gpuvm_sync> = try reader.readArray(
            count: request.wait_count, limit: Self.maxSyncs, "waits")
        let signals: WireArray<gpuvm_sync> = try reader.readArray(
            count: request.signal_count, limit: Self.maxSyncs, "signals")
        try reader.expectEnd()
        let batches = wireBatches.map { CommandBatch(address: $0.address, bytes: $0.bytes) }
        let waitPoints = try decode(waits)
        let signalPoints = try decode(signals)
        let fence = try onDevice { () throws(DeviceError) in
            try client.execute(
                queue: request.queue, batches: batches, waits: waitPoints, signals: signalPoints)
        }
        var builder = ReplyBuilder(to: .exec, serial: message.serial)
        builder.append(
            gpuvm_exec_reply(fence_context: fence.context, fence_sequence: fence.sequenceNumber))
        return builder.finishInline()
    }

    func fenceInfo(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_fence_info = try reader.read()
        let info = try onDevice { () throws(DeviceError) in
            try client.fenceInfo(context: request.context, sequence: request.sequence)
        }
        var reply = gpuvm_fence_info_reply()
        reply.submitted = info.times.submitted
        reply.started = info.times.started
        reply.finished = info.times.ended
        reply.signaled = info.isSignalled ? 1 : 0
        reply.error = info.error
        reply.queue_kind = UInt32(info.engineClass.rawValue)
        reply.queue = info.queue
        var builder = ReplyBuilder(to: .fenceInfo, serial: message.serial)
        builder.append(reply)
        return try builder.finish()
    }
}
