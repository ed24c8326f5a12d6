import CWireProtocol
import GPUVMClient

/// The rules of a run's --inject and what they have done.
struct RunInjections {
    var rules: [gpuvm_injection_record]
    /// The last of them, oldest first.
    var firings: [gpuvm_injection_firing]

    init(_ connection: Connection) throws(ClientError) {
        rules = try connection.injections()
        firings = try connection.injectionFirings()
    }
}
