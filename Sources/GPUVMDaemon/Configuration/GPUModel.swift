import Device

/// The GPUs that DRM programs can take the device for.
public enum GPUModel: String, Sendable, CaseIterable {
    /// Turing, the oldest generation that Mesa's NVK takes unasked.
    case tu104
    /// Ada.
    case ad104

    /// What the nouveau personality says of it.
    var nouveau: NouveauModel {
        switch self {
        case .tu104: .tu104
        case .ad104: .ad104
        }
    }
}
