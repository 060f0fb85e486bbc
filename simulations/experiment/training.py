"""Sections on what a simulation learns from, how it is divided, and how it is tested."""

from typing import Annotated, Literal

from pydantic import Field

from coordinator.settings.base import Section, by_kind

Hospital = Literal["cleveland", "hungarian", "switzerland", "va"]
HOSPITALS: tuple[Hospital, ...] = ("cleveland", "hungarian", "switzerland", "va")

Fraction01 = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Data(Section):
    """Options of every data set; the limits of 0 mean "all"."""

    max_train: int = Field(default=0, ge=0)
    max_test: int = Field(default=0, ge=0)


class DigitsData(_Data):
    """The 1,797 digit images of 8x8 pixels that ship with scikit-learn; 10 classes."""

    kind: Literal["digits"] = "digits"
    test_fraction: Fraction01 = 0.2


class BreastCancerData(_Data):
    """The 569 tumours with 30 measurements that ship with scikit-learn; 2 classes."""

    kind: Literal["breast_cancer"] = "breast_cancer"
    test_fraction: Fraction01 = 0.2


class FashionMnistData(_Data):
    """Fashion-MNIST, 28x28 pixels, 10 classes, from ``fashion-mnist/`` of the data folder."""

    kind: Literal["fashion_mnist"] = "fashion_mnist"
    folder: str = ""


class HeartDiseaseData(_Data):
    """UCI Heart Disease of up to four hospitals, from ``heart-disease/`` of the data folder."""

    kind: Literal["heart_disease"] = "heart_disease"
    folder: str = ""
    test_fraction: Fraction01 = 0.25
    sites: list[Hospital] = Field(default=list(HOSPITALS), min_length=1)


class HubData(_Data):
    """A data set of the Hugging Face hub through ``flwr-datasets`` (the ``hub`` extra)."""

    kind: Literal["hub"] = "hub"
    dataset: str = Field(min_length=1)
    subset: str = ""
    revision: str = ""
    label: str = Field(default="label", min_length=1)
    features: list[str] = Field(default=["image"], min_length=1)
    site: str = ""
    train_split: str = Field(default="train", min_length=1)
    test_split: str = ""
    test_fraction: Fraction01 = 0.2
    scale: float = Field(default=255.0, gt=0.0)


Data = Annotated[
    Annotated[
        DigitsData | BreastCancerData | FashionMnistData | HeartDiseaseData | HubData,
        Field(discriminator="kind"),
    ],
    by_kind("digits"),
]

Clients = Annotated[int, Field(ge=1, le=100_000)]


class IidPartition(Section):
    """Every client draws from the same distribution; sizes differ by at most one."""

    kind: Literal["iid"] = "iid"
    clients: Clients = 10


class DirichletPartition(Section):
    """Label skew: each class is split by shares from a symmetric Dirichlet (Hsu et al. 2019)."""

    kind: Literal["dirichlet"] = "dirichlet"
    clients: Clients = 10
    alpha: float = Field(default=0.5, ge=1e-3, le=1e6)
    min_examples: int = Field(default=1, ge=1)


class BySitePartition(Section):
    """One client for each site (hospital) that the data names."""

    kind: Literal["by_site"] = "by_site"
    clients: Clients = len(HOSPITALS)


Partition = Annotated[
    Annotated[IidPartition | DirichletPartition | BySitePartition, Field(discriminator="kind")],
    by_kind("iid"),
]


class Evaluation(Section):
    """When the global model is tested: every so many rounds, and after the last."""

    every: int = Field(default=1, ge=1)
