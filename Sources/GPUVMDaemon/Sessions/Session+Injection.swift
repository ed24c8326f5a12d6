import CWireProtocol
import Device
import PageTables
import WireProtocol

/// Faults on purpose. Who may make them is the device's to say: EPERM for others.
extension Session {
    func inject(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_injection = try reader.read()
        // Before what is wrong with the rule: who may not make any learns nothing else.
        try onDevice { () throws(DeviceError) in try client.checkMayInject() }
        let rule = try InjectionRecords.rule(request)
        let made = try onDevice { () throws(DeviceError) in try client.inject(rule) }
        var builder = ReplyBuilder(to: .inject, serial: message.serial)
        builder.append(
            gpuvm_injection_reply(id: made.id, affected: UInt32(clamping: made.affected)))
        logger.notice(
            "fault injection: a rule was made",
            metadata: ["rule": "\(made.id)", "kind": "\(rule.kind.name)"])
        return builder.finishInline()
    }

    func clearInjections(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let id = try readHandle(message)
        let cleared = try onDevice { () throws(DeviceError) in
            try client.removeInjections(id == 0 ? nil : id)
        }
        var builder = ReplyBuilder(to: .injectClear, serial: message.serial)
        builder.append(
            gpuvm_injection_clear_reply(cleared: UInt32(clamping: cleared), reserved: 0))
        logger.notice(
            "fault injection: rules were cleared", metadata: ["rules": "\(cleared)"])
        return builder.finishInline()
    }

    func injectionList(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        try onDevice { () throws(DeviceError) in try client.checkMayInject() }
        let page = try readPage(message)
        return ListPage(
            server.device.injector.rules, after: page.cursor, key: { UInt64($0.id) },
            record: InjectionRecords.record
        ).reply(to: message)
    }

    func injectionFirings(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        try onDevice { () throws(DeviceError) in try client.checkMayInject() }
        let page = try readPage(message)
        return ListPage(
            server.device.injector.firings(after: page.cursor), after: page.cursor, key: \.id,
            record: InjectionRecords.firing
        ).reply(to: message)
    }
}
