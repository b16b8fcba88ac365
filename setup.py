"""The one compiled part: the receive path's accelerator. Without a compiler the installation succeeds and the node does without."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "dicom_node.scp._pump",
            ["dicom_node/scp/_pump.c"],
            depends=["dicom_node/scp/_pump_wire.h"],
            extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
            py_limited_api=True,
            optional=True,
        )
    ],
)
