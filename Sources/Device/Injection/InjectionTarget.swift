/// Whom a rule meets: all that is set has to agree.
public struct InjectionTarget: Sendable, Equatable {
    /// A client's id.
    public var client: UInt32?
    /// A process id.
    public var process: Int32?
    /// The name that reports give a client.
    public var name: String?
    /// A VM's device-wide id.
    public var vm: UInt32?
    /// A queue's device-wide id.
    public var queue: UInt32?

    /// Every client, but those that make rules.
    public init() {}

    private var namesClient: Bool { client != nil || process != nil || name != nil }

    func matches(_ client: Client) -> Bool {
        if !namesClient && vm == nil && queue == nil && client.makesRules { return false }
        return (self.client ?? client.id) == client.id
            && (process ?? client.process) == client.process
            && (name ?? client.name) == client.name
    }

    /// - Parameters:
    ///   - vm: 0 for a request that is about none.
    ///   - queue: 0 for a request that is about none, and for a VM's own.
    func matches(_ client: Client, vm: UInt32, queue: UInt32) -> Bool {
        (self.vm ?? vm) == vm && (self.queue ?? queue) == queue && matches(client)
    }
}
