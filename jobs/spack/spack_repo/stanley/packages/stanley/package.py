import pathlib

from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *


class Stanley(CMakePackage, CudaPackage):
    """Trains energy-based models with persistent, anisotropic Langevin chains on one core or a cluster."""

    # The checkout that this file lies in: what is committed there is built.
    git = pathlib.Path(__file__).resolve().parents[6].as_uri()

    license("MIT")

    # The whole repository, since the version comes from the tags.
    version("main", branch="main", get_full_repo=True)

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("git", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("mpi")
    depends_on("hdf5@1.10: +mpi +hl")
    depends_on("yaml-cpp")
    depends_on("cli11")
    depends_on("fmt")
    depends_on("spdlog")
    depends_on("nlohmann-json")
    depends_on("random123")
    depends_on("xxhash@0.8:")

    depends_on("py-torch@2.6:")
    depends_on("py-torch ~cuda", when="~cuda")
    with when("+cuda"):
        depends_on("cuda@12:")
        depends_on("nccl@2.18:")
        depends_on("py-torch +cuda")
        for arch in CudaPackage.cuda_arch_values:
            depends_on(f"py-torch cuda_arch={arch}", when=f"cuda_arch={arch}")
        conflicts("cuda_arch=none", msg="name the GPUs that stanley is for, for example cuda_arch=80,90")

    # What the tools import.
    depends_on("python@3.11:", type="run")
    depends_on("py-h5py +mpi", type="run")
    depends_on("py-matplotlib", type="run")
    depends_on("py-numpy", type="run")
    depends_on("py-pillow", type="run")
    depends_on("py-pyyaml", type="run")
    depends_on("py-xxhash", type="run")

    conflicts("%gcc@:10", msg="stanley needs a compiler of C++20: GCC 11 or newer, Clang 16 or newer")
    conflicts("%clang@:15", msg="stanley needs a compiler of C++20: GCC 11 or newer, Clang 16 or newer")

    def cmake_args(self):
        torch = pathlib.Path(self.spec["py-torch"].package.cmake_prefix_paths[0]).parents[1]  # of share/cmake
        args = [
            self.define("BUILD_TESTING", False),
            self.define_from_variant("STANLEY_CUDA", "cuda"),
            self.define("STANLEY_TORCH_ROOT", str(torch)),
            self.define("STANLEY_INSTALL_TORCH", False),
            self.define("STANLEY_INSTALL_PYTHON", False),
        ]
        if self.spec.satisfies("+cuda"):
            architectures = self.spec.variants["cuda_arch"].value
            args.append(self.define("CMAKE_CUDA_ARCHITECTURES", ";".join(architectures)))
        return args

    def setup_run_environment(self, env):
        env.set("STANLEY_HOME", self.prefix)
