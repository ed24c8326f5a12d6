import CWireProtocol
import WireProtocol

/// Faults on purpose, for the daemon's user and root: EPERM for others, EOPNOTSUPP from a daemon of
/// protocol 1.2 or older.
extension Connection {
    /// Makes a rule, which outlives the connection.
    ///
    /// - Returns: The rule's id, and with GPUVM_INJECT_NOW how much was affected at once.
    /// - Throws: EINVAL for what makes no sense, EAGAIN for too many rules.
    @discardableResult
    public func inject(
        _ rule: gpuvm_injection
    ) throws(ClientError) -> gpuvm_injection_reply {
        try call(Request(.inject, rule), reply: gpuvm_injection_reply.self)
    }

    /// Forgets a rule, or all of them; what they have done already goes on.
    ///
    /// - Returns: How many there were.
    /// - Throws: ENOENT for a rule that there is not.
    @discardableResult
    public func clearInjections(_ id: UInt32? = nil) throws(ClientError) -> UInt32 {
        try call(
            Request(.injectClear, gpuvm_handle(handle: id ?? 0, reserved: 0)),
            reply: gpuvm_injection_clear_reply.self
        ).cleared
    }

    /// The rules and what has become of them, by id.
    public func injections() throws(ClientError) -> [gpuvm_injection_record] {
        try list(.injectList, of: gpuvm_injection_record.self)
    }

    /// The last times that rules fired, oldest first.
    public func injectionFirings() throws(ClientError) -> [gpuvm_injection_firing] {
        try list(.injectFirings, of: gpuvm_injection_firing.self)
    }
}
